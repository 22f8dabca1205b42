#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "autograd/tensor.hpp"

namespace osteon {

/// One tensor that an op keeps for its backward.
struct SavedRecord {
  std::string op, name;
  Shape shape;
  DType dtype;
  std::int64_t bytes;     ///< of the tensor
  bool first;             ///< false if another op already keeps the same storage: then it costs nothing more
  std::uint64_t storage;  ///< Storage::id()
};

/// While one lives, lists what ops on this thread save. Parameters are not in it: they are there anyway. It keeps no
/// tensor alive, so the memory of what it watches is what it is without it.
class SavedAudit {
 public:
  SavedAudit();
  ~SavedAudit();
  SavedAudit(const SavedAudit&) = delete;
  SavedAudit& operator=(const SavedAudit&) = delete;

  const std::vector<SavedRecord>& records() const { return records_; }
  /// Bytes kept, each storage counted once.
  std::int64_t bytes() const;

 private:
  friend void audit_recorded(std::string_view op);
  std::vector<SavedRecord> records_;
  SavedAudit* outer_;
};

/// While one lives, nothing is listed: a backward that runs a region again keeps nothing beyond itself.
class AuditPause {
 public:
  AuditPause();
  ~AuditPause();
  AuditPause(const AuditPause&) = delete;
  AuditPause& operator=(const AuditPause&) = delete;

 private:
  SavedAudit* paused_;
};

}  // namespace osteon
