#pragma once

#include <string>
#include <string_view>

namespace sagaz::inline v0::sqlite {

/// The statements of an optimistic publisher. What makes them safe is argued in
/// sqlite_publisher_store.cpp.
struct PublisherStatements {
    explicit PublisherStatements(std::string_view schema);

    std::string token;
    std::string asked;
    std::string undelivered;
    std::string parked;
    std::string remove;
    std::string leave;
};

}  // namespace sagaz::inline v0::sqlite
