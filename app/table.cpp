#include "app/table.hpp"

#include <algorithm>
#include <ostream>

namespace sagaz::inline v0::app {
namespace {

// Characters, not bytes: those that continue one do not take a column.
std::size_t width_of(const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U;
    }));
}

}  // namespace

std::string plain(const std::string& text) {
    auto shown = text;
    std::replace_if(
        shown.begin(), shown.end(),
        [](char c) {
            const auto byte = static_cast<unsigned char>(c);
            return byte < 0x20 || byte == 0x7f;
        },
        '?');
    return shown;
}

void write_table(std::ostream& out, const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t n = 0; n < row.size(); ++n) {
            widths[n] = std::max(widths[n], width_of(row[n]));
        }
    }
    for (const auto& row : rows) {
        for (std::size_t n = 0; n < row.size(); ++n) {
            out << plain(row[n]);
            if (n + 1 < row.size()) {
                out << std::string(widths[n] - width_of(row[n]) + 2, ' ');
            }
        }
        out << '\n';
    }
}

std::string grouped(std::int64_t number) {
    auto text = std::to_string(number);
    const std::size_t first = number < 0 ? 1 : 0;
    for (auto at = text.size(); at > first + 3;) {
        at -= 3;
        text.insert(at, 1, ',');
    }
    return text;
}

}  // namespace sagaz::inline v0::app
