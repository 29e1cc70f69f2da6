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
    void barrier();

  private:
    void serve(int member);

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
