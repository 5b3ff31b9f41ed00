#pragma once

#include "core/inbox_step.hpp"
#include "inbox/metrics.hpp"
#include "inbox/script.hpp"

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace sagaz::inline v0::inbox {

/// One call of `process` or `process_batch`.
class Run {
public:
    using Plain = Outcome<std::monostate>;
    using Handle = std::function<void(std::size_t)>;

    Run(UnitOfWork& unit, const InboxOptions& options, const Scripts& scripts, Telemetry* telemetry)
        : unit_(unit),
          options_(options),
          scripts_(scripts),
          reporter_(telemetry, options.consumer_name) {}

    std::vector<Plain> run(std::span<const Message> messages, const Handle& handle);

private:
    struct Trouble {
        core::InboxStage stage{};
        core::Blame blame{};
        std::string cause{};
        bool is_conflict{};
        bool was_ended{};  ///< Somebody else had ended the transaction when the handler threw.
    };

    // Runs `body(stage)`; a failure that concerns this message or this transaction becomes a value,
    // every other one is thrown on, after the rollback.
    template <class Body>
    std::optional<Trouble> attempt(const Body& body);
    Trouble trouble_of(const std::exception& thrown, core::InboxStage stage) const;

    void one(std::size_t n);
    void all_one_by_one();
    std::optional<Trouble> all_together();
    std::optional<Trouble> all_with_savepoints();

    // Mark and handler in the open transaction.
    void handle_marked(std::size_t n, core::InboxStage& stage);
    Plain after(const Trouble& trouble, std::size_t n);
    Plain again(const Trouble& trouble) const;
    Plain count(std::size_t n, std::string_view cause, int attempts_max, int counted);
    // None: `into` is set.
    std::optional<Trouble> try_to_count(std::size_t n, std::string_view cause, int attempts_max,
                                        int counted, Plain& into);
    // Throws when a handler committed the marks of [first, end) by itself and then failed.
    void expect_no_marks(const Trouble& trouble, std::size_t first, std::size_t end);
    Plain wait_for_key() const;
    void report() const noexcept;

    UnitOfWork& unit_;
    const InboxOptions& options_;
    const Scripts& scripts_;
    Reporter reporter_;
    const Handle* handle_{};
    std::span<const Message> messages_;
    std::vector<Delivery> deliveries_;
    std::vector<Plain> plain_;
    std::vector<double> seconds_;
};

}  // namespace sagaz::inline v0::inbox
