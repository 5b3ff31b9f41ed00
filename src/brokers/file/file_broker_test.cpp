#include "brokers/file/file_broker.hpp"

#include "brokers/file/json_line.hpp"

#include <sagaz/brokers.hpp>
#include <sagaz/error.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace sagaz::file {

namespace {

class FileBrokerTest : public ::testing::Test {
protected:
    FileBrokerTest() {
        std::string name = (std::filesystem::temp_directory_path() / "sagaz-XXXXXX").string();
        folder_ = ::mkdtemp(name.data());
    }
    ~FileBrokerTest() override { std::filesystem::remove_all(folder_); }

    std::string path() const { return folder_ + "/events.jsonl"; }

    void write(const std::string& bytes) const { std::ofstream{path()} << bytes; }

    std::string content(const std::string& suffix = "") const {
        std::ifstream file{path() + suffix};
        std::ostringstream all;
        all << file.rdbuf();
        return all.str();
    }

    static std::string line(const std::string& payload) {
        return encode_line({0, "t", "k", {}, payload});
    }

    static void publish(Broker& broker, std::uint64_t token, const std::string& payload) {
        const Envelope envelope{token, "t", "k", {}, payload};
        ASSERT_EQ(broker.publish({&envelope, 1}), 1U);
    }

    std::string folder_;
};

// No file of this process may grow beyond `bytes` while it lives: a full disk that writes a part
// first, as a real one does.
class FullDisk {
public:
    explicit FullDisk(rlim_t bytes) {
        previous_handler_ = std::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &previous_);
        const rlimit now{bytes, previous_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &now);
    }
    ~FullDisk() {
        ::setrlimit(RLIMIT_FSIZE, &previous_);
        std::signal(SIGXFSZ, previous_handler_);
    }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;

private:
    rlimit previous_{};
    void (*previous_handler_)(int){};
};

// A disk that reports a failed write-back once it is asked to sync.
struct FailingSync {
    bool works{};

    FileBroker::Sync function() {
        return [this](int) {
            errno = EIO;
            return works ? 0 : -1;
        };
    }
};

// Standard output is a file while it lives.
class OutputInFile {
public:
    explicit OutputInFile(const std::string& path) : kept_{::dup(STDOUT_FILENO)} {
        std::fflush(stdout);
        const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (kept_ < 0 || file < 0) throw std::runtime_error("cannot redirect standard output");
        ::dup2(file, STDOUT_FILENO);
        ::close(file);
    }
    ~OutputInFile() {
        std::fflush(stdout);
        ::dup2(kept_, STDOUT_FILENO);
        ::close(kept_);
    }
    OutputInFile(const OutputInFile&) = delete;
    OutputInFile& operator=(const OutputInFile&) = delete;

private:
    int kept_;
};

}  // namespace

TEST_F(FileBrokerTest, GivesReceiptsOnlyForWhatIsInTheFile) {
    const auto broker = open(path());
    publish(*broker, 1, "a");
    publish(*broker, 2, "b");
    EXPECT_EQ(content(), "");
    EXPECT_EQ(broker->poll(Milliseconds{0}).size(), 2U);
    EXPECT_EQ(content(), line("a") + line("b"));
}

TEST_F(FileBrokerTest, CutsNothingBeforeItAppends) {
    const std::string half = line("torn").substr(0, 20);
    write(line("whole") + half);
    const auto broker = open(path());
    EXPECT_TRUE(broker->poll(Milliseconds{0}).empty());
    broker->abandon(Milliseconds{0});
    EXPECT_EQ(content(), line("whole") + half);
    publish(*broker, 1, "next");
    EXPECT_EQ(content(), line("whole") + half);
    EXPECT_EQ(broker->poll(Milliseconds{0}).size(), 1U);
    EXPECT_EQ(content(), line("whole") + line("next"));
}

TEST_F(FileBrokerTest, CutsAnUnfinishedLineHoweverLongItIs) {
    const std::string begin{kLineBegin};
    for (const std::size_t size : {std::size_t{1}, begin.size(), std::size_t{20'000}}) {
        std::filesystem::remove(path());
        write((begin + std::string(20'000, 'x')).substr(0, size));
        const auto broker = open(path());
        publish(*broker, 1, "next");
        EXPECT_EQ(broker->poll(Milliseconds{0}).size(), 1U) << broker->down();
        EXPECT_EQ(content(), line("next")) << size;
    }
}

// An editor took the newline of a line that may have its receipt.
TEST_F(FileBrokerTest, FinishesALastLineThatLacksOnlyItsNewline) {
    std::string whole = line("whole");
    whole.pop_back();
    write(line("first") + whole);
    const auto broker = open(path());
    publish(*broker, 1, "next");
    EXPECT_EQ(broker->poll(Milliseconds{0}).size(), 1U);
    EXPECT_EQ(content(), line("first") + line("whole") + line("next"));
}

TEST_F(FileBrokerTest, DoesNotCutAFileThatIsNotItsOwn) {
    for (const std::string& foreign : {std::string("\x7f"
                                                   "ELF\0\1\2",
                                                   7),
                                       std::string("[]"), std::string(20'000, 'x'),
                                       line("ours") + "more", std::string("{\"tonic")}) {
        write(foreign);
        try {
            open(path());
            ADD_FAILURE() << "took a file that ends in " << foreign.substr(0, 10);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid);
            EXPECT_EQ(error.code(), "file_foreign");
        }
        EXPECT_EQ(content(), foreign);
        std::filesystem::remove(path());
    }
}

TEST_F(FileBrokerTest, IsDownWhileItsPathNamesAFileThatIsNotItsOwn) {
    const auto broker = open(path());
    std::filesystem::remove(path());
    write("somebody's");
    publish(*broker, 1, "a");
    EXPECT_TRUE(broker->poll(Milliseconds{0}).empty());
    EXPECT_NE(broker->down().find("move the file away"), std::string::npos) << broker->down();
    EXPECT_EQ(content(), "somebody's");
    std::filesystem::rename(path(), path() + ".away");
    EXPECT_EQ(broker->poll(Milliseconds{10'000}).size(), 1U);
    EXPECT_EQ(content(), line("a"));
}

TEST_F(FileBrokerTest, AFileThatWasMovedAwayIsMadeAnew) {
    const auto broker = open(path());
    publish(*broker, 1, "a");
    ASSERT_EQ(broker->poll(Milliseconds{0}).size(), 1U);
    std::filesystem::rename(path(), path() + ".1");
    publish(*broker, 2, "b");
    EXPECT_EQ(broker->poll(Milliseconds{0}).size(), 1U);
    EXPECT_EQ(content(), line("b"));
    EXPECT_EQ(content(".1"), line("a"));
    std::filesystem::remove(path());
    publish(*broker, 3, "c");
    EXPECT_EQ(broker->poll(Milliseconds{0}).size(), 1U);
    EXPECT_EQ(content(), line("c"));
}

TEST_F(FileBrokerTest, IsDownWhileItsFolderIsGoneAndLosesNoLine) {
    const auto broker = open(path());
    std::filesystem::rename(folder_, folder_ + ".away");
    publish(*broker, 1, "a");
    EXPECT_TRUE(broker->poll(Milliseconds{0}).empty());
    EXPECT_NE(broker->down().find("No such file"), std::string::npos) << broker->down();
    std::filesystem::rename(folder_ + ".away", folder_);
    EXPECT_EQ(broker->poll(Milliseconds{10'000}).size(), 1U);
    EXPECT_EQ(broker->down(), "");
    EXPECT_EQ(content(), line("a"));
}

TEST_F(FileBrokerTest, WritesAgainWhatAFailedSyncOfAFileMayHaveLost) {
    FailingSync sync;
    FileBroker broker{path(), sync.function()};
    publish(broker, 1, "a");
    EXPECT_TRUE(broker.poll(Milliseconds{0}).empty());
    EXPECT_NE(broker.down().find("Input/output error"), std::string::npos) << broker.down();
    EXPECT_EQ(content(), "");
    sync.works = true;
    EXPECT_EQ(broker.poll(Milliseconds{10'000}).size(), 1U);
    EXPECT_EQ(content(), line("a"));
}

// The kernel says once that pages were lost; the next sync is good without them. So a receipt
// must come of lines that were written after the failure.
TEST_F(FileBrokerTest, AFailedSyncOfAStreamGivesNoReceipt) {
    const OutputInFile output{path()};
    FailingSync sync;
    FileBroker broker{"-", sync.function()};
    publish(broker, 1, "a");
    publish(broker, 2, "b");
    EXPECT_TRUE(broker.poll(Milliseconds{0}).empty());
    EXPECT_NE(broker.down().find("Input/output error"), std::string::npos) << broker.down();
    const std::string lost = content();
    sync.works = true;
    EXPECT_EQ(broker.poll(Milliseconds{10'000}).size(), 2U);
    EXPECT_EQ(content(), lost + line("a") + line("b"));
}

TEST_F(FileBrokerTest, IsDownOnAFullDiskAndLosesNoLine) {
    const auto broker = open(path());
    publish(*broker, 1, "a");
    ASSERT_EQ(broker->poll(Milliseconds{0}).size(), 1U);
    {
        const FullDisk full{line("a").size() + 10};
        publish(*broker, 2, "b");
        EXPECT_TRUE(broker->poll(Milliseconds{0}).empty());
        EXPECT_NE(broker->down().find("File too large"), std::string::npos) << broker->down();
        EXPECT_EQ(content(), line("a")) << "the part that was written must go again";
        publish(*broker, 3, "c");
        EXPECT_TRUE(broker->poll(Milliseconds{0}).empty());
    }
    const auto receipts = broker->poll(Milliseconds{10'000});
    ASSERT_EQ(receipts.size(), 2U);
    EXPECT_EQ(receipts[0].state, Receipt::State::accepted);
    EXPECT_EQ(broker->down(), "");
    EXPECT_EQ(content(), line("a") + line("b") + line("c"));
}

TEST_F(FileBrokerTest, PushesBackWhileItCannotWrite) {
    const auto broker = open(path());
    const FullDisk full{0};
    const std::string payload(1'000'000, 'x');
    std::size_t taken = 0;
    for (std::uint64_t token = 1; token <= 20; ++token) {
        const Envelope envelope{token, "t", "k", {}, payload};
        taken += broker->publish({&envelope, 1});
        EXPECT_TRUE(broker->poll(Milliseconds{0}).empty());
    }
    EXPECT_GT(taken, 0U);
    EXPECT_LT(taken, 10U);
}

TEST_F(FileBrokerTest, SharesAFileWithAnotherProcess) {
    const auto one = open(path());
    const auto two = open(path());
    publish(*one, 1, "a");
    publish(*two, 1, "b");
    one->poll(Milliseconds{0});
    two->poll(Milliseconds{0});
    publish(*one, 2, "c");
    one->poll(Milliseconds{0});
    EXPECT_EQ(content(), line("a") + line("b") + line("c"));
}

TEST_F(FileBrokerTest, ReportsADeviceThatTakesNothing) {
    const auto broker = open("/dev/full");
    publish(*broker, 1, "a");
    EXPECT_TRUE(broker->poll(Milliseconds{0}).empty());
    EXPECT_NE(broker->down().find("No space left"), std::string::npos) << broker->down();
}

TEST_F(FileBrokerTest, SaysWhichFileItCannotOpen) {
    try {
        open(folder_ + "/missing/events.jsonl");
        FAIL() << "opened a file in a folder that does not exist";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        EXPECT_EQ(error.code(), "file_open");
        EXPECT_NE(std::string{error.what()}.find("missing/events.jsonl"), std::string::npos);
    }
}

TEST_F(FileBrokerTest, WritesToAPipeAndKeepsTheRestOfAHalfWrittenLine) {
    const std::string pipe = folder_ + "/pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ASSERT_GE(reader, 0);
    const auto broker = open(pipe);
    // More than a pipe holds: the line is begun and cannot be finished.
    const std::string large(200'000, 'x');
    publish(*broker, 1, large);
    EXPECT_TRUE(broker->poll(Milliseconds{50}).empty());
    broker->abandon(Milliseconds{0});
    ASSERT_EQ(broker->poll(Milliseconds{0}).size(), 1U);
    publish(*broker, 2, "next");
    std::string read;
    std::vector<Receipt> receipts;
    char block[65'536];
    for (int turn = 0; turn < 1'000 && receipts.empty(); ++turn) {
        const ssize_t count = ::read(reader, block, sizeof block);
        if (count > 0) read.append(block, static_cast<std::size_t>(count));
        receipts = broker->poll(Milliseconds{10});
    }
    for (ssize_t count = 1; count > 0;) {
        count = ::read(reader, block, sizeof block);
        if (count > 0) read.append(block, static_cast<std::size_t>(count));
    }
    ::close(reader);
    ASSERT_EQ(receipts.size(), 1U);
    EXPECT_EQ(receipts[0].token, 2U);
    EXPECT_TRUE(read == line(large) + line("next")) << "a torn line, " << read.size() << " bytes";
}

}  // namespace sagaz::file
