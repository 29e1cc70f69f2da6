#include "core/pool.h"

#include <sched.h>

namespace outpace {
namespace {

constexpr int kSpins = 4000;          // about 50 us of pauses before a waiting member gives its core away
constexpr int kSpinsToSleep = 20000;  // and about 0.3 ms of no work before it sleeps

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

}  // namespace

Pool::Pool(int n_threads) : n_(n_threads) {
    for (int member = 1; member < n_; ++member) threads_.emplace_back([this, member] { serve(member); });
}

Pool::~Pool() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
        epoch_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void Pool::run(const std::function<void(int)>& job) {
    if (n_ == 1) {
        job(0);
        return;
    }
    running_.store(n_ - 1, std::memory_order_relaxed);
    job_ = &job;
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_seq_cst) > 0) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
        }
        wake_.notify_all();
    }
    job(0);
    for (int spins = 0; running_.load(std::memory_order_acquire) != 0; ++spins) {
        if (spins < kSpins)
            relax();
        else
            sched_yield();
    }
}

// Waits until the phase is another.
void Pool::wait(uint64_t phase) {
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; ++spins) {
        if (spins < kSpins)
            relax();
        else
            sched_yield();
    }
}

void Pool::serve(int member) {
    uint64_t seen = 0;
    for (;;) {
        for (int spins = 0; epoch_.load(std::memory_order_acquire) == seen; ++spins) {
            if (spins < kSpinsToSleep) {
                relax();
                continue;
            }
            std::unique_lock<std::mutex> lock(mutex_);
            asleep_.fetch_add(1, std::memory_order_seq_cst);
            wake_.wait(lock, [&] { return epoch_.load(std::memory_order_seq_cst) != seen; });
            asleep_.fetch_sub(1, std::memory_order_seq_cst);
        }
        seen = epoch_.load(std::memory_order_acquire);
        if (stop_) return;
        (*job_)(member);
        running_.fetch_sub(1, std::memory_order_acq_rel);
    }
}

}  // namespace outpace
