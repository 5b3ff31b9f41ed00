// What an event costs the transaction that it belongs to. Every way is one prepared statement a
// round trip, as drivers send them; a business transaction is one round trip a statement.
#include "app/bench/clients.hpp"
#include "core/migration.hpp"

namespace sagaz::inline v0::app::bench {
namespace {

constexpr int kAccounts = 100'000;
constexpr int kTellers = 1'000;
constexpr std::size_t kPayload = 200;

struct Way {
    std::string name;
    Work work;
    bool for_scale{};  ///< Shown beside the others, with 16 clients alone.
};

void make_tables(const Stage& stage) {
    stage.log.fresh();
    for (const auto* const sql :
         {"CREATE TABLE @schema@.bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
          "created_at timestamptz NOT NULL DEFAULT clock_timestamp(), topic text, key text, "
          "event_type text NOT NULL, payload bytea NOT NULL)",
          "CREATE TABLE @schema@.usual (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
          "event_id uuid NOT NULL DEFAULT gen_random_uuid(), "
          "created_at timestamptz NOT NULL DEFAULT clock_timestamp(), topic text, key text, "
          "event_type text NOT NULL, content_type text NOT NULL DEFAULT 'application/json', "
          "aggregate_type text, aggregate_id text, headers jsonb, payload bytea NOT NULL)",
          "CREATE TABLE @schema@.account (id int PRIMARY KEY, balance int NOT NULL, filler "
          "char(84)) "
          "WITH (fillfactor = 90)",
          "CREATE TABLE @schema@.teller (id int PRIMARY KEY, balance int NOT NULL, filler "
          "char(84)) "
          "WITH (fillfactor = 50)",
          "CREATE TABLE @schema@.history (teller int, account int, delta int, at timestamptz, "
          "filler char(22))"}) {
        stage.log.run(sql);
    }
    const auto fill = [&](const std::string& table, int rows) {
        stage.log.run("INSERT INTO @schema@." + table +
                      " SELECT n, 0, '' FROM generate_series(1, " + std::to_string(rows) + ") n");
        stage.log.run("VACUUM (ANALYZE) @schema@." + table);
    };
    fill("account", kAccounts);
    fill("teller", kTellers);
    // No checkpoint: after one, whoever touches a page first pays for the whole page's WAL.
}

class Ways {
public:
    explicit Ways(const BenchLog& log) : log_{log} {}

    Way single(const std::string& name, const std::string& sql, bool binary_payload) const {
        return {name,
                {[this, sql](BareConnection& connection) {
                     connection.prepare("append", log_.named(sql));
                 },
                 [this, binary_payload](BareConnection& connection, Random& random) {
                     const auto key = std::to_string(random() % kAccounts);
                     append(connection, key, binary_payload);
                 }}};
    }

    /// `added` is one more statement before the COMMIT, if any.
    Way business(const std::string& name, const std::string& added = {}) const {
        return {name,
                {[this, added](BareConnection& connection) {
                     prepare_business(connection, kNote);
                     if (!added.empty()) connection.prepare("append", log_.named(added));
                 },
                 [this, added](BareConnection& connection, Random& random) {
                     const Deal deal{random};
                     begin(connection, deal);
                     connection.execute("note", {{deal.teller}, {deal.account}, {"7"}});
                     if (!added.empty()) append(connection, deal.account, false);
                     connection.run("COMMIT");
                 }}};
    }

    /// The event in the RETURNING of the last statement: no statement more.
    Way business_returning(const std::string& name) const {
        return {name,
                {[this](BareConnection& connection) {
                     prepare_business(connection,
                                      std::string{kNote} +
                                          " RETURNING @schema@.append($4, account::text, $5, "
                                          "$6::text)");
                 },
                 [this](BareConnection& connection, Random& random) {
                     const Deal deal{random};
                     begin(connection, deal);
                     connection.execute("note", {{deal.teller},
                                                 {deal.account},
                                                 {"7"},
                                                 {"orders"},
                                                 {"OrderPlaced"},
                                                 {payload_}});
                     connection.run("COMMIT");
                 }}};
    }

    /// `payload`: its place, as the driver hands it over.
    static std::string insert_into(const std::string& table, const std::string& payload = "$4") {
        return "INSERT INTO @schema@." + table +
               " (topic, key, event_type, payload) VALUES ($1, $2, $3, " + payload + ")";
    }
    static std::string insert_text_into(const std::string& table) {
        return insert_into(table, "convert_to($4::text, 'UTF8')");
    }
    static constexpr const char* kAppend = "SELECT @schema@.append($1, $2, $3, $4::text)";
    static constexpr const char* kNothing =
        "SELECT FROM (VALUES ($1::text, $2::text, $3::text, $4::text)) v";

private:
    static constexpr const char* kNote =
        "INSERT INTO @schema@.history (teller, account, delta, at) "
        "VALUES ($1::int, $2::int, $3::int, clock_timestamp())";

    struct Deal {
        explicit Deal(Random& random)
            : account(std::to_string(random() % kAccounts + 1)),
              teller(std::to_string(random() % kTellers + 1)) {}
        std::string account, teller;
    };

    void append(BareConnection& connection, const std::string& key, bool binary) const {
        connection.execute("append", {{"orders"}, {key}, {"OrderPlaced"}, {payload_, binary}});
    }

    void prepare_business(BareConnection& connection, const std::string& note) const {
        const auto prepare = [&](const char* name, const std::string& sql) {
            connection.prepare(name, log_.named(sql));
        };
        prepare("take",
                "UPDATE @schema@.account SET balance = balance + $1::int WHERE id = $2::int");
        prepare("look", "SELECT balance FROM @schema@.account WHERE id = $1::int");
        prepare("hand",
                "UPDATE @schema@.teller SET balance = balance + $1::int WHERE id = $2::int");
        prepare("note", note);
    }

    static void begin(BareConnection& connection, const Deal& deal) {
        connection.run("BEGIN");
        connection.execute("take", {{"7"}, {deal.account}});
        connection.execute("look", {{deal.account}});
        connection.execute("hand", {{"7"}, {deal.teller}});
    }

    const BenchLog& log_;
    std::string payload_{letters(kPayload)};
};

}  // namespace

Report insert_cost(const Stage& stage) {
    Report report{"insert", "what an event costs the transaction that appends it"};
    stage.step("insert: making tables");
    make_tables(stage);
    const Ways ways{stage.log};
    const auto for_scale = [](Way way) {
        way.for_scale = true;
        return way;
    };
    const std::vector<Way> all{
        ways.single("bare table", Ways::insert_into("bare"), true),
        ways.single("plain INSERT", Ways::insert_into("outbox"), true),
        ways.single("append()", Ways::kAppend, false),
        ways.single("bare table again", Ways::insert_into("bare"), true),
        for_scale(ways.single("usual outbox table", Ways::insert_into("usual"), true)),
        ways.business("business"),
        ways.business("business with append()", Ways::kAppend),
        ways.business("business again"),
        for_scale(ways.business_returning("business with append() in RETURNING")),
        for_scale(ways.business("business with an empty SELECT", Ways::kNothing)),
        for_scale(ways.business("business with a bare INSERT", Ways::insert_text_into("bare"))),
        for_scale(
            ways.business("business with a usual outbox table", Ways::insert_text_into("usual"))),
        for_scale(ways.business("business with a plain INSERT", Ways::insert_text_into("outbox")))};
    for (std::int64_t round = 1; round <= stage.rounds; ++round) {
        for (const int clients : {1, 4, 16, 32}) {
            const auto of = ", " + std::to_string(clients) + " clients";
            for (const auto& way : all) {
                if (way.for_scale && clients != 16) continue;
                stage.step("insert: round " + std::to_string(round) + ", " + way.name + of);
                const auto got = work_for(stage, clients, stage.sizes.insert_seconds, way.work);
                report.add(way.name + of, "commits/s", got.commits_per_second);
                if (clients != 16) continue;
                report.add(way.name + ", WAL", "bytes a commit", got.wal_bytes);
                if (got.server_cpu_micros > 0) {
                    report.add(way.name + ", server CPU", "us a commit", got.server_cpu_micros);
                }
            }
        }
    }
    for (const std::string clients : {"1", "4", "16", "32"}) {
        const auto of = ", " + clients + " clients";
        const auto target = [&](double value) {
            return clients == "16" ? Target::at_least(value) : Target{};
        };
        const auto compare = [&](const std::string& one, const std::string& other, Target wanted) {
            report.compare(one + " to " + other + of, one + of, other + of, wanted);
        };
        compare("bare table again", "bare table", {});
        compare("plain INSERT", "bare table", target(0.7));
        compare("append()", "bare table", target(0.6));
        compare("business again", "business", {});
        compare("business with append()", "business", target(0.9));
        if (clients != "16") continue;
        compare("plain INSERT", "usual outbox table", {});
        compare("append()", "usual outbox table", {});
        for (const auto* const added : {"append() in RETURNING", "an empty SELECT", "a bare INSERT",
                                        "a usual outbox table", "a plain INSERT"}) {
            compare(std::string{"business with "} + added, "business", {});
        }
    }
    report.note("synchronous_commit = " +
                std::string{PQgetvalue(stage.log.run("SHOW synchronous_commit").get(), 0, 0)} +
                "; path: libpq, prepared statements, one round trip each, payload 200 bytes; WAL "
                "and CPU with 16 clients");
    report.note(
        "business: BEGIN, UPDATE account, SELECT account, UPDATE teller, INSERT history, "
        "COMMIT, as pgbench's without its branches; bare table: a primary key, the columns "
        "that a message needs; usual outbox table: also a random event id, the content type and "
        "what is null here");
    return report;
}

}  // namespace sagaz::inline v0::app::bench
