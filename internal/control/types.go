package control

import "time"

// Version answers the method version.
type Version struct {
	Program string `json:"program"` // version of the program
	// Protocol is [Protocol]. Serve fills it in.
	Protocol int `json:"protocol"`
	// PID is the daemon's process id, as it is known to whoever started it.
	PID    int           `json:"pid"`
	Uptime time.Duration `json:"uptime_ns"`
	Shares []string      `json:"shares"` // their tags or mount points
}

// Counts says what a file system holds at the moment, as vfs.Counts does.
type Counts struct {
	Nodes       uint64 `json:"nodes"`       // files and directories that the guest knows
	Handles     uint64 `json:"handles"`     // open files and directories
	Descriptors uint64 `json:"descriptors"` // of the host
	Bytes       uint64 `json:"bytes"`       // of private data
}

// Mount is one entry of the guest's tree.
type Mount struct {
	Path Text `json:"path"` // in the guest
	// Type is a word as in type=dir.
	Type   string `json:"type"`
	Source Text   `json:"source"` // empty for scratch space
	// Spec is the mount in the long form of --share.
	Spec     Text `json:"spec"`
	ReadOnly bool `json:"readonly"`
	// References is how many references the guest has to nodes of the mount. They
	// are not counted at "/".
	References uint64 `json:"references"`
	Counts
}

// Files answers the method files.
type Files struct {
	Files []OpenFile `json:"files"`
	// More is how many there are beside these.
	More uint64 `json:"more"`
}

// OpenFile is a file or a directory that a guest has open.
type OpenFile struct {
	Path  Text      `json:"path"` // in the guest
	Flags OpenFlags `json:"flags"`
	// UID is the guest's user who opened it, 2³²−1 if the guest did not say.
	UID uint32 `json:"uid"`
	// PID is the guest's process that opened it; others may use it by now.
	PID   uint32    `json:"pid"`
	Since time.Time `json:"since"`
	Bytes uint64    `json:"bytes"` // read and written since then
}

// Stats answers the method stats. Numbers without another unit are counted since
// the daemon started, but for those that say "at the moment". They need not be of one
// instant.
type Stats struct {
	// Uptime is when they were taken, for rates between two of them.
	Uptime time.Duration `json:"uptime_ns"`
	// Bounds are the upper bounds of the buckets of all latencies, in nanoseconds,
	// ascending. They do not change while the daemon runs.
	Bounds []uint64 `json:"bounds_ns"`
	// Ops are the FUSE operations that there have been.
	Ops          []Op    `json:"ops"`
	BytesRead    uint64  `json:"bytes_read"`    // by guests
	BytesWritten uint64  `json:"bytes_written"` // by guests
	Queues       []Queue `json:"queues"`
	InFlight     uint64  `json:"in_flight"` // requests that are being served at the moment
	// Pending are requests at the moment that wait, for a lock or as they would hold
	// up a queue.
	Pending uint64 `json:"pending"`
	// Counts is of all mounts together, at the moment.
	Counts       Counts `json:"counts"`
	OpenFiles    uint64 `json:"open_files"`    // at the moment
	AuditDropped uint64 `json:"audit_dropped"` // accesses that the access log lacks
	Memory       Memory `json:"memory"`
}

// Op is what there has been of one FUSE operation.
type Op struct {
	Name   string `json:"name"` // such as LOOKUP
	Count  uint64 `json:"count"`
	Errors uint64 `json:"errors"` // that were answered with an error
	Latency
}

// Latency says how long requests took, in nanoseconds.
type Latency struct {
	Sum uint64 `json:"sum_ns"` // of all together
	Max uint64 `json:"max_ns"` // 0 where it is not known
	// The quantiles follow from Buckets; Serve fills them in. Each is the bound of
	// the bucket that it lies in, or Max if that is less.
	P50  uint64 `json:"p50_ns"`
	P90  uint64 `json:"p90_ns"`
	P99  uint64 `json:"p99_ns"`
	P999 uint64 `json:"p999_ns"`
	// Buckets[i] counts requests that took at most Bounds[i] and more than the bound
	// before; one bucket more those that took longer than all bounds. Those at
	// the end that are 0 may be left out.
	Buckets []uint64 `json:"buckets"`
}

// Queue is a queue of requests from a guest, or a thread that serves a mount.
type Queue struct {
	Name   string `json:"name"`
	Depth  uint64 `json:"depth"` // requests at the moment that nobody has taken yet
	Served uint64 `json:"served"`
}

// Memory is that of the process that serves, in bytes, at the moment.
type Memory struct {
	Heap     uint64 `json:"heap"`     // Go objects, dead ones that are not collected yet among them
	Resident uint64 `json:"resident"` // 0 where the process cannot know
}

// Params of methods.
type (
	filesParams struct {
		Limit int `json:"limit,omitempty"`
	}
	addParams struct {
		Spec Text `json:"spec"`
	}
	removeParams struct {
		Path Text `json:"path"`
	}
	// logLevel is the result too.
	logLevel struct {
		Level string `json:"level,omitempty"`
	}
)

// Limits of the method files.
const (
	DefaultFiles = 1000
	MaxListed    = 10000
)
