#pragma once

#include <sagaz/broker.hpp>
#include <sagaz/export.hpp>
#include <sagaz/store.hpp>
#include <sagaz/telemetry.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

namespace sagaz::inline v0 {

/// Limits and times of a relay. What shapes bytes or order is not here: see `Settings`.
struct RelayOptions {
    std::size_t batch_max{5'000};                       ///< Rows of one read; 1 to 100,000.
    std::size_t batch_max_bytes{std::size_t{8} << 20};  ///< Payload bytes of one read; memory is at
                                                        ///< most about three times this.
    Milliseconds poll_interval{10};                     ///< Between reads while events come; twice
                                                        ///< that while publishers send them all.
    Milliseconds idle_poll_interval{500};  ///< Between reads after some seconds of silence.
    Milliseconds lease{10'000};          ///< A slot whose owner is silent this long is taken over.
    Milliseconds store_interval{100};    ///< Between stored cursors; a crash repeats this much.
    Milliseconds grace{1'500};           ///< How long a held event is left to its publisher.
    Milliseconds drain_timeout{20'000};  ///< From stop to the end of `run`, at most.
    Milliseconds retention{0};  ///< How long delivered events stay in the log, at least; up to ten
                                ///< years. Costs their space.
    Milliseconds inbox_retention{2'592'000'000};  ///< How long marks of consumers stay in the
                                                  ///< database, at least; 30 days, an hour to ten
                                                  ///< years. 0: this relay leaves them alone.
    Milliseconds retry_initial{100};  ///< Backoff after an error of store or broker: first,
    Milliseconds retry_max{5'000};    ///< and at most; doubled with jitter between.
    Milliseconds parked_retry_initial{5'000};  ///< The same between attempts of a parked event.
    Milliseconds parked_retry_max{300'000};
    Milliseconds attempt_timeout{30'000};  ///< An attempt of a parked event that is not answered
                                           ///< for so long is given up.
    std::size_t stopped_keys_max{10'000};  ///< Stopped keys of a slot remembered by name; of each
                                           ///< of the others sixteen bytes are. At least 1.
    std::int32_t max_attempts{10};  ///< Refusals of an event; then it is dead: needs a person.
};

/// What a relay is doing, for probes.
struct RelayStatus {
    std::uint64_t published{};  ///< Acknowledged by the destination since the start.
    std::uint64_t parked{};     ///< By this relay, and not delivered by it since.
    std::uint64_t turns{};      ///< Grows while the loop lives.
    std::int64_t turned_ms_ago{};
    std::int16_t slots_owned{};
    bool store_up{};
    std::string store_error{};       ///< Code and text of the last error while it is not.
    std::string destination_down{};  ///< Empty: up.
    std::int64_t destination_down_ms{};
    bool drained{};  ///< Nothing committed was left at the last look.
};

/// Moves committed events from a store to a broker: at least once, in order per (topic, key),
/// parking what the broker refuses. Any number of relays may run on one database; each slot has
/// one owner at a time. A crash at any point loses nothing: what was sent and not yet stored is
/// sent again, with the same id and bytes.
class SAGAZ_EXPORT Relay {
public:
    /// Opens a second broker to the same destination.
    using OpenBroker = std::function<std::unique_ptr<Broker>()>;

    /// Throws `invalid` (`option_range`) for an option out of range. `telemetry` may be null and
    /// must outlive the relay. `open_for_parked` is called when a parked event is first tried
    /// again, so that what is refused then does not disturb the stream; when it throws an `Error`
    /// it is called again later. Without it nothing is tried again by this relay: parked events
    /// wait for one that has it, or to be discarded.
    Relay(std::unique_ptr<Store> store, std::unique_ptr<Broker> broker, RelayOptions options = {},
          Telemetry* telemetry = nullptr, OpenBroker open_for_parked = {});
    ~Relay();
    Relay(const Relay&) = delete;
    Relay& operator=(const Relay&) = delete;

    /// Works in the caller's thread until `stop`: then finishes what is on its way, stores,
    /// releases its slots and returns within `drain_timeout`. Installs no signal handler. Errors
    /// that time can heal are retried for ever; throws `invalid` or `fatal` when a person must
    /// change something first.
    void run(std::stop_token stop);

    /// Works until nothing committed is left (held events aside, and parked ones that are not due),
    /// then stops as `run` does. False when `deadline` came first.
    bool drain(Milliseconds deadline);

    /// Thread-safe.
    RelayStatus status() const;

private:
    class Shell;
    std::unique_ptr<Shell> shell_;
};

}  // namespace sagaz::inline v0
