#pragma once

/// Marks what the shared library exports; everything else is built with hidden visibility.
/// A static build ignores it.
#define SAGAZ_EXPORT __attribute__((visibility("default")))
