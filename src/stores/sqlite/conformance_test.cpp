#include "tests/support/sqlite_file.hpp"

#include <sagaz/testing/publisher_store_conformance.hpp>

#include <gtest/gtest.h>

namespace sagaz {
namespace {

class SqliteSubject final : public testing::PublisherSubject {
public:
    std::unique_ptr<Store> open() override { return file_.open(); }
    std::unique_ptr<PublisherStore> open_publisher() override { return file_.open_publisher(); }
    std::unique_ptr<testing::Writer> begin() override {
        return std::make_unique<test::SqliteWriter>(file_.path());
    }
    bool writes_concurrently() const override { return false; }
    // A crash leaves a file's memory alone; a file put in its place is another memory.
    void forget() override { file_.replace(file_.copy()); }

private:
    test::SqliteFile file_;
};

[[maybe_unused]] const int kTests =
    testing::register_store_conformance("Sqlite", [] { return std::make_unique<SqliteSubject>(); });
[[maybe_unused]] const int kPublisherTests = testing::register_publisher_store_conformance(
    "Sqlite", [] { return std::make_unique<SqliteSubject>(); });

}  // namespace
}  // namespace sagaz
