#include "tests/support/postgres_writer.hpp"

#include <sagaz/testing/publisher_store_conformance.hpp>

#include <gtest/gtest.h>

namespace sagaz {
namespace {

class PostgresSubject final : public testing::PublisherSubject {
public:
    std::unique_ptr<Store> open() override { return test::open_store(schema_); }
    std::unique_ptr<PublisherStore> open_publisher() override {
        return postgres::open_publisher(schema_.url(), {.schema = schema_.name()});
    }
    std::unique_ptr<testing::Writer> begin() override {
        return std::make_unique<test::PostgresWriter>(schema_);
    }
    void forget() override { schema_.server().restart(test::StopMode::immediate); }

private:
    test::Schema schema_;
};

[[maybe_unused]] const int kTests = testing::register_publisher_store_conformance(
    "Postgres", [] { return std::make_unique<PostgresSubject>(); });

}  // namespace
}  // namespace sagaz
