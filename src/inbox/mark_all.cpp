// The marks of a batch in one statement, whose values are arrays: their literals are the one form
// that every driver passes on.
#include "core/array_literal.hpp"
#include "core/text.hpp"
#include "inbox/answer.hpp"
#include "inbox/script.hpp"

#include <array>
#include <string>

namespace sagaz::inline v0::inbox {
namespace {

// Bounds what one statement costs both sides.
constexpr std::size_t kMessagesMax = 200;
constexpr std::size_t kBytesMax = std::size_t{1} << 20;

void add_to(std::string& column, const Parameter& value) {
    if (value.null) return core::add_to_array(column, std::nullopt);
    if (value.binary) return core::add_to_array(column, core::as_hex(value.bytes));
    core::add_to_array(column, value.bytes);
}

}  // namespace

std::size_t Delivery::bytes() const noexcept {
    return id_.size() + source_topic_.size() + event_type_.size() + content_type_.size() +
           (key_ ? key_->size() : 0) + (headers_ ? headers_->size() : 0) +
           message_->event.payload.size();
}

std::size_t Delivery::together(std::span<const Delivery> deliveries, Dialect dialect) {
    std::size_t count = 0;
    std::size_t sum = 0;
    for (const auto& delivery : deliveries) {
        if (delivery.scripts_->of(dialect).mark_all.empty() || !delivery.has_id_) break;
        sum += delivery.bytes();
        if (count == kMessagesMax || sum > kBytesMax) break;
        ++count;
    }
    return count;
}

std::vector<Settlement> Delivery::mark_all(Transaction& transaction,
                                           std::span<const Delivery> deliveries) {
    constexpr std::size_t kColumns = 7;  // from the id on
    std::array<std::string, kColumns> columns;
    columns.fill("{");
    for (const auto& delivery : deliveries) {
        const auto values = delivery.values();
        for (std::size_t c = 0; c < kColumns; ++c) add_to(columns[c], values.at(c + 1));
    }
    const Delivery& first = deliveries.front();
    std::vector<Parameter> all{{first.options_->consumer_name}};
    for (auto& column : columns) all.push_back({column += '}'});
    const auto patience = first.lock_timeout(true);
    first.add_options(all, patience);
    const auto rows =
        transaction.execute({first.scripts_->of(transaction.dialect()).mark_all, all});
    if (rows.empty() || rows.size() > deliveries.size()) throw_unexpected();
    std::vector<Settlement> settlements;
    settlements.reserve(rows.size());
    for (const auto& row : rows) {
        if (row.empty()) throw_unexpected();
        settlements.push_back(settlement_in(row[0]));
    }
    const bool is_whole = rows.size() == deliveries.size();
    if (!is_whole && settlements.back() != Settlement::in_progress) throw_unexpected();
    return settlements;
}

}  // namespace sagaz::inline v0::inbox
