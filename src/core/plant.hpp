#pragma once

/// Faults that the simulator plants in the core to prove that it would find them. A product build
/// has none: SAGAZ_PLANT is set only for the test executables of tests/simulation.
#ifndef SAGAZ_PLANT
#define SAGAZ_PLANT 0
#endif

namespace sagaz::inline v0::core {

enum class Plant {
    none = 0,
    id_after_last = 1,       ///< Read only `id > last`: late commits are lost.
    xip_only = 2,            ///< Late rows only from `running`, not from `xid >= xmax`.
    store_before_ack = 3,    ///< Count an event as settled when it is handed to the broker.
    no_held_rule = 4,        ///< Send held rows like any other.
    no_gate = 5,             ///< Publish before the commit is on disk.
    stored_passes_held = 6,  ///< Store a cursor that passes a held row.
    keep_key_open = 7,       ///< Go on with a key after one of its events was refused.
    release_early = 8,       ///< Release a slot before its stored cursor has caught up.
    resume_early = 9,        ///< Go on with a key once the first of its parked events was accepted.
    mark_early = 10,      ///< Mark a row as sent by the relay before the destination accepted it.
    settle_early = 11,    ///< A publisher settles what it sent before the receipt.
    accept_unknown = 12,  ///< A publisher takes any receipt for an acceptance.
};

/// Not inline: the files of one executable differ in it.
constexpr Plant kPlant = static_cast<Plant>(SAGAZ_PLANT);

}  // namespace sagaz::inline v0::core
