#pragma once

#include <sagaz/event.hpp>
#include <sagaz/export.hpp>
#include <sagaz/store.hpp>

#include <functional>
#include <memory>
#include <string>

/// The conformance suite of the Store port, for GoogleTest. A backend that passes it can be handed
/// to a Relay.
namespace sagaz::inline v0::testing {

/// A transaction of a producer. Destroyed without `commit`, it rolls back.
class SAGAZ_EXPORT Writer {
public:
    Writer() = default;
    virtual ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    /// `hold`: for how long an optimistic publisher may still send it; zero: not at all.
    virtual void append(const Event& event, Milliseconds hold = Milliseconds{0}) = 0;
    virtual void commit() = 0;
};

/// A new and empty log, made for one test.
class SAGAZ_EXPORT StoreSubject {
public:
    StoreSubject() = default;
    virtual ~StoreSubject();
    StoreSubject(const StoreSubject&) = delete;
    StoreSubject& operator=(const StoreSubject&) = delete;

    /// One more store on the log; not attached.
    virtual std::unique_ptr<Store> open() = 0;

    /// One more transaction; several may be open at once if the log `writes_concurrently`.
    virtual std::unique_ptr<Writer> begin() = 0;

    /// False for a database with one writer at a time. The suite then asks for what follows from
    /// it instead: nothing commits late.
    virtual bool writes_concurrently() const { return true; }

    /// Makes the database lose its memory, as a crash does, and returns when it answers again.
    virtual void forget() = 0;
};

/// Registers the suite as `StoreConformance/<name>`: call it before RUN_ALL_TESTS, or to
/// initialise a constant at namespace scope. Returns the number of tests.
SAGAZ_EXPORT int register_store_conformance(const std::string& name,
                                            std::function<std::unique_ptr<StoreSubject>()> make);

}  // namespace sagaz::inline v0::testing
