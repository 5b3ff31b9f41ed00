#pragma once

#include "core/inbox_step.hpp"
#include "inbox/metrics.hpp"
#include "inbox/script.hpp"

#include <exception>
#include <functional>
#include <new>
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
    /// One call of `replay`: the next parked message that is due. None: there is none.
    std::optional<Plain> replay(const std::function<void(const Message&)>& handle);

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

    // Mark and handler, in the open transaction or in one that the first statement begins.
    void handle_marked(std::size_t n, Transaction& transaction, core::InboxStage& stage);
    void mark(std::size_t n, Transaction& transaction);
    // What a mark said, and what belongs to it.
    Plain marked(std::size_t n, Settlement settlement);
    void handle(std::size_t n, core::InboxStage& stage);
    // Marks the messages from `first` on that may be marked at once; returns the one behind them.
    std::size_t mark_some(std::size_t first, core::HeldKeys& held, core::InboxStage& stage);
    // What says that all whose marks were set ahead are handled.
    void close_marks(core::InboxStage& stage);
    Plain after(const Trouble& trouble, std::size_t n);
    Plain again(const Trouble& trouble) const;
    Plain count(std::size_t n, std::string_view cause, int attempts_max, int counted);
    // None: `into` is set.
    std::optional<Trouble> try_to_count(std::size_t n, std::string_view cause, int attempts_max,
                                        int counted, Plain& into);
    // Throws when a handler committed the marks of [first, end) by itself and then failed.
    void expect_no_marks(const Trouble& trouble, std::size_t first, std::size_t end);
    [[noreturn]] static void throw_ended();
    [[noreturn]] static void throw_ended_early();
    Plain wait_for_key() const;
    Plain after_replay(const Trouble& trouble, const Message& message);
    void report() const noexcept;

    UnitOfWork& unit_;
    const InboxOptions& options_;
    const Scripts& scripts_;
    Reporter reporter_;
    bool is_ahead_{};  ///< Marks were set ahead of their handlers.
    const Handle* handle_{};
    std::span<const Message> messages_;
    std::vector<Delivery> deliveries_;
    std::vector<Plain> plain_;
    std::vector<double> seconds_;
};

template <class Body>
std::optional<Run::Trouble> Run::attempt(const Body& body) {
    core::InboxStage stage = core::InboxStage::statement;
    try {
        body(stage);
        return std::nullopt;
    } catch (const std::bad_alloc&) {
        unit_.rollback();
        throw;
    } catch (const std::exception& thrown) {
        const auto error = unit_.error_of(thrown);
        if (!error && stage != core::InboxStage::handler) {
            unit_.rollback();
            throw;
        }
        Trouble trouble = trouble_of(thrown, stage);
        if (trouble.blame != core::Blame::call) return trouble;
        unit_.rollback();
        throw *error;
    } catch (...) {
        if (stage == core::InboxStage::handler) {
            return Trouble{stage, core::Blame::message, "the handler threw what is no exception",
                           false, !unit_.is_open()};
        }
        unit_.rollback();
        throw;
    }
}

}  // namespace sagaz::inline v0::inbox
