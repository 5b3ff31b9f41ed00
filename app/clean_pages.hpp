#pragma once

namespace sagaz::inline v0::app {

/// Gives back the pages of files that this process has mapped and only read: its libraries' above
/// all. Whoever needs one again gets it from the page cache, so this is right at any time and in
/// any thread. Does nothing where /proc does not tell.
void drop_clean_pages();

}  // namespace sagaz::inline v0::app
