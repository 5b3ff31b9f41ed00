#pragma once

#include <string>
#include <string_view>

/// What a database takes as text, and what becomes of bytes that are none.
namespace sagaz::inline v0::core {

/// True when `text` is well-formed UTF-8 (no surrogates, no overlong forms) without a zero byte,
/// which is what a text of the database can hold.
bool is_text(std::string_view text);

/// `bytes` when they are text, else "\x" and their hex digits: the same bytes, the same text.
std::string as_text(std::string_view bytes);

/// "\x" and the hex digits of `bytes`, as PostgreSQL reads and writes them.
std::string as_hex(std::string_view bytes);

/// The start of `text`, at most `max` bytes, without half a character at its end.
std::string cut(std::string_view text, std::size_t max);

/// A cause to keep and to show: text, one line, at most 300 bytes.
std::string as_cause(std::string_view what);

}  // namespace sagaz::inline v0::core
