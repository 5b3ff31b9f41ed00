#include "app/verify/sources.hpp"
#include "brokers/file/json_line.hpp"

#include <sagaz/error.hpp>

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

FileReader::FileReader(const std::string& path) : file_(path, std::ios::binary) {
    if (!file_) {
        throw Error(ErrorKind::invalid, "file_open", "cannot open " + path,
                    "Give the path that the relay's file: destination wrote to.");
    }
}

std::optional<Message> FileReader::next() {
    std::getline(file_, line_);
    if (!file_ || file_.eof()) {  // no newline at its end: not a message yet
        file_.clear();
        file_.seekg(position_);
        return std::nullopt;
    }
    position_ += static_cast<std::int64_t>(line_.size()) + 1;
    return message_of(line_, lines_++);
}

void read_file(const std::string& path, Account& account, const std::function<void()>& progress) {
    FileReader reader(path);
    while (const auto message = reader.next()) {
        const Event& event = message->event;
        std::vector<HeaderView> headers;
        headers.reserve(event.headers.size());
        for (const Header& header : event.headers) headers.push_back({header.name, header.value});
        account.arrive({message->source_topic, message->partition, message->position, event.key,
                        headers, event.payload});
        if (reader.lines() % 4'096 == 0) progress();
    }
}

}  // namespace sagaz::verify
