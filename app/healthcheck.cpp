#include "app/admin_server.hpp"
#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"
#include "app/json_text.hpp"

#include <httplib.h>

#include <ostream>

namespace sagaz::inline v0::app {

int run_healthcheck(const HealthcheckOptions& options, Console& console) {
    auto [host, port] = split_address(options.address);
    if (port == 0) {
        refuse("argument_invalid",
               "admin.listen is \"" + options.address + "\", and port 0 says nothing",
               "give a fixed port in admin.listen or SAGAZ_ADMIN_LISTEN");
    }
    if (host == "0.0.0.0") {
        host = "127.0.0.1";
    } else if (host == "::") {
        host = "::1";
    }
    httplib::Client client{host, port};
    const auto seconds = static_cast<time_t>(options.timeout.count() / 1'000);
    const auto micros = static_cast<time_t>(options.timeout.count() % 1'000 * 1'000);
    client.set_connection_timeout(seconds, micros);
    client.set_read_timeout(seconds, micros);
    client.set_write_timeout(seconds, micros);
    const auto answer = client.Get(options.probe == "live" ? "/livez" : "/readyz");
    if (!answer) {
        throw Error{ErrorKind::unavailable, "admin_unreachable",
                    "nothing answers at " + options.address + " (" +
                        httplib::to_string(answer.error()) + ")",
                    "start sagaz relay, or correct admin.listen"};
    }
    auto body = answer->body.substr(0, 1'000);
    while (body.ends_with('\n')) {
        body.pop_back();
    }
    const bool is_well = answer->status == 200;
    if (options.json) {
        console.out()
            << line_of({{"schema", 1}, {"probe", options.probe}, {"ok", is_well}, {"text", body}})
            << '\n';
    } else {
        console.say(body);
    }
    return is_well ? kOk : kFailed;
}

}  // namespace sagaz::inline v0::app
