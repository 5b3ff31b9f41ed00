#pragma once

#include <sagaz/outbox.hpp>

#include <optional>
#include <span>

/// What an Outbox and its tickets know of their publisher. Shared, so that they may outlive it.
namespace sagaz::inline v0::core {

class Holds {
public:
    Holds() = default;
    virtual ~Holds();
    Holds(const Holds&) = delete;
    Holds& operator=(const Holds&) = delete;

    /// For how long an append of now is to be held; none: nobody would send it.
    virtual std::optional<Milliseconds> hold() noexcept = 0;

    /// Ends the holds of a ticket that nobody handed over, in the background. Never waits.
    virtual void give_back(std::span<const Ticket::Entry> entries) noexcept = 0;
};

}  // namespace sagaz::inline v0::core
