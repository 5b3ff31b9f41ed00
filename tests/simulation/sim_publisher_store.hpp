#pragma once

#include "sim_session.hpp"

#include <sagaz/publisher_store.hpp>

namespace sagaz::simulation {

/// Answers an optimistic publisher from a SimDatabase; each call is one atomic statement.
class SimPublisherStore final : public PublisherStore, public SimSession {
public:
    using SimSession::SimSession;

    Attached attach() override;
    Confirmation confirm(std::span<const RowRef> asked, std::span<const RowRef> acknowledged,
                         Milliseconds margin) override;
    std::uint64_t flushed(bool force) override;
    void settle(std::span<const RowRef> accepted, std::span<const RowRef> left) override;

private:
    Verdict judge(const RowRef& asked, std::span<const RowRef> acknowledged,
                  Milliseconds margin) const;
    bool is_behind(const LogRow& row, std::span<const RowRef> acknowledged) const;
};

}  // namespace sagaz::simulation
