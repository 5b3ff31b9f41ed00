#include "app/verify/sources.hpp"
#include "brokers/file/json_line.hpp"

#include <sagaz/error.hpp>

#include <fstream>

namespace sagaz::verify {

namespace {

// By the format's own reader: whatever the destination writes is read here.
Message message_of(const std::string& text, std::int64_t offset) {
    try {
        Message message = file::decode_line(text);
        message.partition = 0;
        message.position = offset;
        return message;
    } catch (const Error& error) {
        throw Error(error.kind(), std::string(error.code()),
                    "line " + std::to_string(offset + 1) + ": " + error.what(),
                    std::string(error.hint()));
    }
}

}  // namespace

void read_messages(const std::string& path, const std::function<void(Message)>& take,
                   const std::function<void()>& progress) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        throw Error(ErrorKind::invalid, "file_open", "cannot open " + path,
                    "Give the path that the relay's file: destination wrote to.");
    }
    std::string text;
    std::int64_t offset = 0;
    while (std::getline(file, text)) {
        if (file.eof()) break;  // no newline at its end: not a message yet
        take(message_of(text, offset));
        if (++offset % 4'096 == 0) progress();
    }
}

void read_file(const std::string& path, Account& account, const std::function<void()>& progress) {
    const auto take = [&](const Message& message) {
        const Event& event = message.event;
        std::vector<HeaderView> headers;
        headers.reserve(event.headers.size());
        for (const Header& header : event.headers) headers.push_back({header.name, header.value});
        account.arrive({message.source_topic, message.partition, message.position, event.key,
                        headers, event.payload});
    };
    read_messages(path, take, progress);
}

}  // namespace sagaz::verify
