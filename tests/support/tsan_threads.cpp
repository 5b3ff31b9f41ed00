// What ThreadSanitizer must be told about librdkafka and cpp-httplib, which are not built with it.
// For binaries under that sanitizer only.
//
// Threads, locks and conditions of librdkafka come from C11 (<threads.h>), which ThreadSanitizer
// does not intercept: it would see no lock of the client's at all. These definitions stand in the
// test binary, so the dynamic linker prefers them to libc's, and they do the same through pthreads,
// which ThreadSanitizer knows. glibc gives both APIs the same objects behind types of the same
// size, checked below.
//
// Reference counts of librdkafka are atomics inside its own code, which nothing can intercept, so
// when the last holder destroys an object that looks like a race with what the others did to it.
// Hence the suppressions below, for the two C functions by which librdkafka destroys. C++ code,
// ours, destroys by operator delete, and is looked at as always; what is freed too early is for
// AddressSanitizer, which needs no order of events.
//
// cpp-httplib's parse_request_line keeps the methods' names in a function-local static set, filled
// by whichever worker comes first. Later workers pass its guard by an atomic load inside the
// library, unseen here, so their look into the set seems to race with the filling. The suppression
// covers what that library does by itself; a handler of ours is instrumented, and its frames are
// not the library's.
#include <pthread.h>
#include <sched.h>
#include <threads.h>

#include <cerrno>
#include <cstdint>
#include <ctime>

static_assert(sizeof(pthread_mutex_t) <= sizeof(mtx_t));
static_assert(sizeof(pthread_cond_t) <= sizeof(cnd_t));
static_assert(sizeof(pthread_once_t) <= sizeof(once_flag));
static_assert(sizeof(pthread_key_t) <= sizeof(tss_t));
static_assert(sizeof(pthread_t) <= sizeof(thrd_t));

namespace {

pthread_mutex_t* mutex(mtx_t* m) { return reinterpret_cast<pthread_mutex_t*>(m); }
pthread_cond_t* condition(cnd_t* c) { return reinterpret_cast<pthread_cond_t*>(c); }

int result(int error) {
    switch (error) {
        case 0: return thrd_success;
        case ENOMEM: return thrd_nomem;
        case ETIMEDOUT: return thrd_timedout;
        case EBUSY: return thrd_busy;
        default: return thrd_error;
    }
}

struct Start {
    thrd_start_t function;
    void* argument;
};

void* run(void* opaque) {
    auto* given = static_cast<Start*>(opaque);
    const Start start = *given;
    delete given;
    return reinterpret_cast<void*>(static_cast<std::intptr_t>(start.function(start.argument)));
}

}  // namespace

// Hidden by default in this project; the dynamic linker must see these.
#define SAGAZ_INTERPOSE extern "C" __attribute__((visibility("default")))

extern "C" __attribute__((visibility("default"))) const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
    // Each by the three names that versions of the sanitizer give it; reports show the first.
    return "race_top:^free$\n"
           "race_top:^__interceptor_free$\n"
           "race_top:^___interceptor_free$\n"
           "race_top:^pthread_rwlock_destroy$\n"
           "race_top:^__interceptor_pthread_rwlock_destroy$\n"
           "race_top:^___interceptor_pthread_rwlock_destroy$\n"
           "race:libcpp-httplib.so\n";
}

SAGAZ_INTERPOSE int thrd_create(thrd_t* thread, thrd_start_t function, void* argument) {
    return result(pthread_create(thread, nullptr, run, new Start{function, argument}));
}
SAGAZ_INTERPOSE int thrd_join(thrd_t thread, int* out) {
    void* returned = nullptr;
    const int error = pthread_join(thread, &returned);
    if (error == 0 && out != nullptr) {
        *out = static_cast<int>(reinterpret_cast<std::intptr_t>(returned));
    }
    return result(error);
}
SAGAZ_INTERPOSE int thrd_detach(thrd_t thread) { return result(pthread_detach(thread)); }
SAGAZ_INTERPOSE void thrd_exit(int code) {
    pthread_exit(reinterpret_cast<void*>(static_cast<std::intptr_t>(code)));
}

SAGAZ_INTERPOSE int mtx_init(mtx_t* m, int type) noexcept {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(
        &attributes, (type & mtx_recursive) != 0 ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_DEFAULT);
    const int error = pthread_mutex_init(mutex(m), &attributes);
    pthread_mutexattr_destroy(&attributes);
    return result(error);
}
SAGAZ_INTERPOSE void mtx_destroy(mtx_t* m) noexcept { pthread_mutex_destroy(mutex(m)); }
SAGAZ_INTERPOSE int mtx_lock(mtx_t* m) { return result(pthread_mutex_lock(mutex(m))); }
SAGAZ_INTERPOSE int mtx_trylock(mtx_t* m) { return result(pthread_mutex_trylock(mutex(m))); }
SAGAZ_INTERPOSE int mtx_timedlock(mtx_t* m, const timespec* until) {
    return result(pthread_mutex_timedlock(mutex(m), until));
}
SAGAZ_INTERPOSE int mtx_unlock(mtx_t* m) noexcept { return result(pthread_mutex_unlock(mutex(m))); }

SAGAZ_INTERPOSE int cnd_init(cnd_t* c) noexcept {
    return result(pthread_cond_init(condition(c), nullptr));
}
SAGAZ_INTERPOSE void cnd_destroy(cnd_t* c) noexcept { pthread_cond_destroy(condition(c)); }
SAGAZ_INTERPOSE int cnd_signal(cnd_t* c) noexcept {
    return result(pthread_cond_signal(condition(c)));
}
SAGAZ_INTERPOSE int cnd_broadcast(cnd_t* c) noexcept {
    return result(pthread_cond_broadcast(condition(c)));
}
SAGAZ_INTERPOSE int cnd_wait(cnd_t* c, mtx_t* m) {
    return result(pthread_cond_wait(condition(c), mutex(m)));
}
SAGAZ_INTERPOSE int cnd_timedwait(cnd_t* c, mtx_t* m, const timespec* until) {
    return result(pthread_cond_timedwait(condition(c), mutex(m), until));
}

SAGAZ_INTERPOSE void call_once(once_flag* flag, void (*function)(void)) {
    pthread_once(reinterpret_cast<pthread_once_t*>(flag), function);
}
SAGAZ_INTERPOSE int tss_create(tss_t* key, tss_dtor_t destructor) {
    return result(pthread_key_create(key, destructor));
}
SAGAZ_INTERPOSE void* tss_get(tss_t key) noexcept { return pthread_getspecific(key); }
SAGAZ_INTERPOSE int tss_set(tss_t key, void* value) noexcept {
    return result(pthread_setspecific(key, value));
}
SAGAZ_INTERPOSE void tss_delete(tss_t key) noexcept { pthread_key_delete(key); }
