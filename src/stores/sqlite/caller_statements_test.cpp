#include "stores/sqlite/caller_statements.hpp"

#include "tests/support/error_code.hpp"
#include "tests/support/sqlite_file.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>

namespace sagaz::sqlite {
namespace {

using test::code_of;

class CallerStatements : public ::testing::Test {
protected:
    CallerStatements() { sql_.run("CREATE TABLE t (n TEXT PRIMARY KEY, b); BEGIN IMMEDIATE"); }

    // How many are prepared on the connection; none of them may run.
    int prepared() {
        int count = 0;
        for (sqlite3_stmt* each = sqlite3_next_stmt(sql_.raw(), nullptr); each != nullptr;
             each = sqlite3_next_stmt(sql_.raw(), each)) {
            EXPECT_EQ(sqlite3_stmt_busy(each), 0) << sqlite3_sql(each);
            ++count;
        }
        return count;
    }
    Rows execute(const std::string& sql, const std::vector<Parameter>& values = {}) {
        return kept_.execute(sql_.raw(), {sql, values});
    }

    test::TemporaryFolder folder_;
    test::SqliteConnection sql_{folder_.path() / "t.db"};
    KeptStatements kept_;
};

TEST_F(CallerStatements, ArePreparedOnceAndBoundAnew) {
    const std::string insert = "INSERT INTO t VALUES (?1, ?2)";
    execute(insert, {{"a", false, false}, {"x", false, true}});
    execute(insert, {{"b", false, false}, {{}, true, false}});
    execute(insert, {{"c", false, false}});
    EXPECT_EQ(prepared(), 1);
    EXPECT_EQ(execute("SELECT n, b FROM t ORDER BY n"),
              (Rows{{"a", "x"}, {"b", std::nullopt}, {"c", std::nullopt}}))
        << "no value of an earlier run is left";
    EXPECT_EQ(execute("SELECT n FROM t WHERE n = ?1", {{"b", false, false}}), (Rows{{"b"}}));
    EXPECT_EQ(prepared(), 3);
}

TEST_F(CallerStatements, LeaveNothingRunningWhenTheyFail) {
    const std::string insert = "INSERT INTO t VALUES (?1, NULL)";
    execute(insert, {{"a", false, false}});
    EXPECT_EQ(code_of([&] { execute(insert, {{"a", false, false}}); }), "duplicate");
    EXPECT_EQ(prepared(), 1);
    execute(insert, {{"b", false, false}});
    sql_.run("ROLLBACK; BEGIN IMMEDIATE");
    execute(insert, {{"a", false, false}});
    EXPECT_EQ(execute("SELECT n FROM t"), (Rows{{"a"}}));
}

TEST_F(CallerStatements, FollowTheSchema) {
    const std::string all = "SELECT * FROM t";
    execute("INSERT INTO t VALUES ('a', 'x')");
    EXPECT_EQ(execute(all), (Rows{{"a", "x"}}));
    sql_.run("ALTER TABLE t ADD COLUMN more DEFAULT 'y'");
    EXPECT_EQ(execute(all), (Rows{{"a", "x", "y"}}));
    sql_.run("DROP TABLE t");
    EXPECT_EQ(code_of([&] { execute(all); }), "schema_missing");
}

TEST_F(CallerStatements, AreKeptInABoundedNumberAndNoLongOne) {
    for (int n = 0; n < 1'000; ++n) execute("SELECT " + std::to_string(n));
    EXPECT_LE(prepared(), 32);
    const int before = prepared();
    execute("SELECT '" + std::string(100'000, 'x') + "'");
    EXPECT_EQ(prepared(), before);
    kept_ = {};
    EXPECT_EQ(prepared(), 0);
}

TEST_F(CallerStatements, OfATransactionAreNotKept) {
    SqliteTransaction(sql_.raw()).execute({"INSERT INTO t VALUES ('a', NULL)", {}});
    EXPECT_EQ(prepared(), 0);
}

TEST_F(CallerStatements, OfAUnitAreRefusedOutsideOfATransactionAndBelowSynchronousFull) {
    SqliteUnitOfWork unit(sql_.raw());
    const Statement one{"SELECT 1", {}};
    EXPECT_EQ(unit.execute(one), (Rows{{"1"}})) << "in a transaction that the caller began";
    sql_.run("ROLLBACK");
    EXPECT_EQ(code_of([&] { unit.execute(one); }), "no_transaction");
    sql_.run("PRAGMA synchronous = NORMAL");
    EXPECT_EQ(code_of([&] { unit.begin(); }), "synchronous_normal");
    EXPECT_NE(sqlite3_get_autocommit(sql_.raw()), 0) << "nothing was begun";
    sql_.run("BEGIN IMMEDIATE");
    EXPECT_EQ(code_of([&] { unit.execute(one); }), "synchronous_normal");
    sql_.run("ROLLBACK; PRAGMA synchronous = FULL");
    unit.begin();
    unit.execute(one);
    sql_.run("ROLLBACK");
    EXPECT_EQ(code_of([&] { unit.execute(one); }), "no_transaction") << "somebody ended it";
}

}  // namespace
}  // namespace sagaz::sqlite
