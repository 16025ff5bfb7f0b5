// A table of pools by size, one table for each process: a forked child has none of its parent's threads.
#include "shared_pool.hpp"

#include <map>

#include "per_process.hpp"

namespace openbei {

namespace {

struct Pools {
  std::mutex mutex;
  std::map<size_t, std::weak_ptr<SharedPool>> by_size;
};

}  // namespace

std::shared_ptr<SharedPool> shared_pool(size_t size) {
  if (size == 1) return std::make_shared<SharedPool>(size);
  static PerProcess<Pools> pools_of_process([] { return std::make_unique<Pools>(); });
  Pools& pools = pools_of_process.get();
  const std::lock_guard lock(pools.mutex);
  std::weak_ptr<SharedPool>& known = pools.by_size[size];
  std::shared_ptr<SharedPool> pool = known.lock();
  if (!pool) known = pool = std::make_shared<SharedPool>(size);
  return pool;
}

}  // namespace openbei
