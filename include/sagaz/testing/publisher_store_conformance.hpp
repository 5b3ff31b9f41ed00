#pragma once

#include <sagaz/export.hpp>
#include <sagaz/publisher_store.hpp>
#include <sagaz/testing/store_conformance.hpp>

#include <functional>
#include <memory>
#include <string>

/// The conformance suite of the PublisherStore port, for GoogleTest. A backend that passes it can
/// be handed to an OptimisticPublisher; it needs a Store that passes its own suite.
namespace sagaz::inline v0::testing {

/// A new and empty log, made for one test, to which no store has been attached yet.
class SAGAZ_EXPORT PublisherSubject : public StoreSubject {
public:
    ~PublisherSubject() override;

    /// One more publisher's store on the log; not attached.
    virtual std::unique_ptr<PublisherStore> open_publisher() = 0;
};

/// Registers the suite as `PublisherStoreConformance/<name>`, as `register_store_conformance` does.
SAGAZ_EXPORT int register_publisher_store_conformance(
    const std::string& name, std::function<std::unique_ptr<PublisherSubject>()> make);

}  // namespace sagaz::inline v0::testing
