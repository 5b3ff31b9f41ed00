// A batch is one transaction: the lines of a batch are committed together or not at all, and a line
// that is no event stops before its batch is sent. What was committed before it stays; the message
// says how much, so that a script can go on from there. A COMMIT whose answer was lost is in doubt:
// the events may be there, and appending the same lines again would repeat them unless each line
// carries its own `event_id`, which the inbox tells apart.
#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"
#include "app/event_line.hpp"
#include "app/store.hpp"

#include <sagaz/outbox.hpp>

#include <nlohmann/json.hpp>

#include <fstream>
#include <istream>
#include <iterator>
#include <ostream>

namespace sagaz::inline v0::app {
namespace {

constexpr std::size_t kBatchLines = Outbox::kEventsMax;
constexpr std::size_t kBatchBytes = std::size_t{8} << 20;
constexpr std::size_t kLineMax = std::size_t{64} << 20;

class Appender {
public:
    Appender(const AppendOptions& options, Console& console)
        : options_{options},
          console_{console},
          outbox_{options.store.schema},
          session_{options.store, Purpose::append} {}

    void add(Event event) {
        bytes_ += event.payload.size() + event.topic.size() + event.event_type.size();
        events_.push_back(std::move(event));
        if (events_.size() >= kBatchLines || bytes_ >= kBatchBytes) {
            commit();
        }
    }

    void commit() {
        if (events_.empty()) {
            return;
        }
        session_.begin();
        const auto ticket = outbox_.append(session_, std::span<const Event>{events_});
        try {
            session_.commit();
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::unavailable) {
                throw;
            }
            throw Error{ErrorKind::in_doubt, "commit_in_doubt",
                        "the answer to COMMIT was lost: " + std::string{error.what()},
                        "look with sagaz events ls whether the last " +
                            std::to_string(events_.size()) +
                            " events are there before you append them again"};
        }
        committed_ += events_.size();
        for (const auto& id : ticket.ids()) {
            print(id);
        }
        events_.clear();
        bytes_ = 0;
        console_.progress("appended " + std::to_string(committed_) + " events");
    }

    std::size_t committed() const { return committed_; }

private:
    void print(const Id& id) {
        if (options_.json) {
            console_.out() << R"({"schema":1,"event_id":")" << id.text() << "\"}\n";
        } else {
            console_.out() << id.text() << '\n';
        }
    }

    const AppendOptions& options_;
    Console& console_;
    Outbox outbox_;
    StoreSession session_;
    std::vector<Event> events_;
    std::size_t bytes_{};
    std::size_t committed_{};
};

// False at the end of the input. Throws when a line is longer than any event can be.
bool read_line(std::istream& in, std::string& line) {
    line.clear();
    auto* const buffer = in.rdbuf();
    for (;;) {
        const int c = buffer->sbumpc();
        if (c == std::char_traits<char>::eof()) {
            return !line.empty();
        }
        if (c == '\n') {
            return true;
        }
        if (line.size() >= kLineMax) {
            throw Error{ErrorKind::invalid, "append_line", "longer than 64 MiB",
                        "write one event a line"};
        }
        line += static_cast<char>(c);
    }
}

bool is_blank(const std::string& line) {
    return line.find_first_not_of(" \t\r") == std::string::npos;
}

int append_lines(const AppendOptions& options, Console& console) {
    Appender appender{options, console};
    std::string line;
    std::size_t number = 0;
    try {
        for (;;) {
            ++number;
            try {
                if (!read_line(console.in(), line)) {
                    break;
                }
                if (is_blank(line)) {
                    continue;
                }
                if (number == 1 && line.starts_with("\xef\xbb\xbf")) {
                    line.erase(0, 3);
                }
                auto event = parse_event_line(line);
                static_cast<void>(
                    Outbox{options.store.schema}.append_statement(event));  // its limits
                appender.add(std::move(event));
            } catch (const Error& error) {
                if (error.kind() != ErrorKind::invalid || error.code() == "schema_missing") {
                    throw;
                }
                throw Error{ErrorKind::invalid, std::string{error.code()},
                            "line " + std::to_string(number) + ": " + error.what(),
                            std::string{error.hint()}};
            }
        }
        appender.commit();
    } catch (const Error&) {
        console.say("committed " + std::to_string(appender.committed()) +
                    " events before this; nothing of the batch that failed");
        throw;
    }
    console.say("committed " + std::to_string(appender.committed()) + " events");
    return kOk;
}

std::string read_all(std::istream& in, const std::string& name) {
    std::string bytes{std::istreambuf_iterator<char>{in}, {}};
    if (in.bad()) {
        refuse("file_open", name + " cannot be read", "name a readable file");
    }
    return bytes;
}

std::string payload_of(const AppendOptions& options, Console& console) {
    if (options.payload == "-") {
        return read_all(console.in(), "standard input");
    }
    if (!options.payload.starts_with('@')) {
        return options.payload;
    }
    const auto path = options.payload.substr(1);
    std::ifstream file{path, std::ios::binary};
    if (!file) {
        refuse("file_open", "--payload @" + path + " cannot be read",
               "name a readable file, or give the payload as text");
    }
    return read_all(file, path);
}

}  // namespace

int run_append(const AppendOptions& options, Console& console) {
    if (options.from_stdin) {
        return append_lines(options, console);
    }
    Event event{.topic = options.topic,
                .key = options.key,
                .event_type = options.event_type,
                .payload = payload_of(options, console),
                .content_type = options.content_type};
    if (!options.id.empty()) {
        event.id = Id::parse(options.id);
    }
    for (const auto& [name, value] : options.headers) {
        event.headers.push_back({name, value});
    }
    Appender appender{options, console};
    appender.add(std::move(event));
    appender.commit();
    return kOk;
}

}  // namespace sagaz::inline v0::app
