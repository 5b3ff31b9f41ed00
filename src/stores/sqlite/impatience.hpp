#pragma once

#include "stores/sqlite/database.hpp"

#include <memory>

namespace sagaz::inline v0::sqlite {

/// Does not wait for other writers while it lives.
class Impatience {
public:
    Impatience(const std::unique_ptr<Database>& database, Milliseconds patience)
        : database_(database), patience_(patience) {
        database_->wait_at_most(Milliseconds{0});
    }
    ~Impatience() {
        if (database_) database_->wait_at_most(patience_);  // an error may have closed it
    }
    Impatience(const Impatience&) = delete;
    Impatience& operator=(const Impatience&) = delete;

private:
    const std::unique_ptr<Database>& database_;
    Milliseconds patience_;
};

}  // namespace sagaz::inline v0::sqlite
