/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_RUNTIME_HSPERFDATA_H
#define TARGET_RUNTIME_HSPERFDATA_H

#include <stdint.h>

#include "base/sv.h"

/* The counters that HotSpot keeps in a mapped file, /tmp/hsperfdata_USER/PID (OpenJDK, src/hotspot/share/runtime/
 * perfMemory.hpp, version 2.0): a head of 32 bytes, then entries, each with a name and a value.
 *
 *	head    magic cafec0c0 (big-endian), byte order (0 big, 1 little), major, minor, accessible; then 32 bits each:
 *	        used, overflow; 64 bits: modified; 32 bits each: offset of the first entry, number of entries
 *	entry   32 bits each: length, offset of the name, elements (0: one value); 8 bits each: type (J: 64 bits), flags,
 *	        unit, variability; 32 bits: offset of the value. Offsets are from the entry's beginning
 *
 * The JVM writes while we read: values are of no one moment, and each is aligned and whole. The bytes are the traced
 * process's, who may have written anything. */
#define HSPERFDATA_MAX_SZ      (256 << 10) /* read of a file; the JVM's default is 32 KiB */
#define HSPERFDATA_MAX_ENTRIES 8192

/* Calls back for each number. How many there were; -EAGAIN: the JVM has not finished the file; -EBADMSG: it is none of
 * version 2 (what stood before the mistake was told). */
int hsperfdata_each(const void *data, size_t len, void (*number)(void *arg, struct sv name, int64_t value), void *arg);

#endif
