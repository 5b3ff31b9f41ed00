#pragma once

#include <sagaz/outbox.hpp>
#include <sagaz/transaction.hpp>

#include <string>

namespace sagaz::inline v0::outbox {

/// Asks the database of `transaction` what became of the transaction that `ticket` stands for.
/// What each answer rests on is argued where it is found: migration 0004 for PostgreSQL, and
/// resolve.cpp for SQLite.
CommitOutcome resolve(Transaction& transaction, const std::string& schema, const Ticket& ticket);

}  // namespace sagaz::inline v0::outbox
