// A fixed team of threads that run the same function and meet at barriers.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace outpace {

// The calling thread is member 0; the others spin for a moment after each job, then sleep until the next.
class Pool {
  public:
    explicit Pool(int n_threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int size() const { return n_; }

    // Runs job(member) on every member and returns when all have finished. One call at a time.
    void run(const std::function<void(int)>& job);

    // Inside a job: waits until every member has arrived.
    void barrier() {
        barrier([] { return false; });
    }
    // The same; calls `idle` while it waits, as long as that returns true.
    template <class Idle>
    void barrier(Idle&& idle) {
        if (n_ == 1) return;
        const uint64_t phase = phase_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) == n_ - 1) {
            arrived_.store(0, std::memory_order_relaxed);
            phase_.store(phase + 1, std::memory_order_release);
            return;
        }
        while (phase_.load(std::memory_order_acquire) == phase && idle()) {
        }
        wait(phase);
    }

  private:
    void serve(int member);
    void wait(uint64_t phase);

    const int n_;
    std::vector<std::thread> threads_;
    const std::function<void(int)>* job_ = nullptr;
    alignas(64) std::atomic<uint64_t> epoch_{0};
    alignas(64) std::atomic<int> running_{0};
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<uint64_t> phase_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
    bool stop_ = false;
    std::atomic<int> asleep_{0};
};

}  // namespace outpace
