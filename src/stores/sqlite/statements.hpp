#pragma once

#include <string>
#include <string_view>

namespace sagaz::inline v0::sqlite {

/// `text` with the clock in the place of "{now}", and the prefix.
std::string finished_statement(std::string_view text, std::string_view schema);

/// The store's SQL with the prefix put in. What makes it safe is argued in statements.cpp.
struct Statements {
    explicit Statements(std::string_view schema);

    std::string find_versions;
    std::string versions;
    std::string renew_token;
    std::string token;
    std::string introduce;
    std::string settings;
    std::string guard;
    std::string beat;
    std::string sequence;
    std::string report;
    std::string slots;
    std::string acquire;
    std::string relays;
    std::string release;
    std::string give_back;
    std::string forget_relay;
    std::string cursor;
    std::string stopped;
    std::string find_late;
    std::string read;
    std::string owns;
    std::string store;
    std::string park;
    std::string look_at;
    std::string mark_delivered;
    std::string tidy_cursors;
    std::string tidy_relays;
    std::string measure;
    std::string every_slot;
    std::string find_delivered;
    std::string delete_delivered;
};

}  // namespace sagaz::inline v0::sqlite
