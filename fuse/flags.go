package fuse

import "github.com/isthmus-fs/isthmus/vfs"

// The protocol versions spoken here. Minors between MinMinor and MaxMinor are
// accepted from the guest; a later one is brought down to MaxMinor.
const (
	Major    = 7
	MinMinor = 27
	MaxMinor = 45
)

// minorExtlen is the minor version that gave the request header the length of
// its extensions. Before, a security context just followed the names.
const minorExtlen = 38

// minorSubmountsEnd is the minor version of Linux 6.12. Linux 6.1 panics when a file is
// closed whose submount has gone away (fuse_release_end); 6.12 and 7.2 do not.
const minorSubmountsEnd = 41

// Flags of INIT. Those from bit 32 on travel in flags2 and only with initExt.
const (
	initAsyncRead         uint64 = 1 << 0
	initPOSIXLocks        uint64 = 1 << 1
	initAtomicOTrunc      uint64 = 1 << 3
	initBigWrites         uint64 = 1 << 5
	initDontMask          uint64 = 1 << 6
	initFlockLocks        uint64 = 1 << 10
	initHasIoctlDir       uint64 = 1 << 11
	initAutoInvalData     uint64 = 1 << 12
	initDoReaddirplus     uint64 = 1 << 13
	initReaddirplusAuto   uint64 = 1 << 14
	initAsyncDIO          uint64 = 1 << 15
	initWritebackCache    uint64 = 1 << 16
	initNoOpenSupport     uint64 = 1 << 17
	initParallelDirops    uint64 = 1 << 18
	initPOSIXACL          uint64 = 1 << 20
	initMaxPages          uint64 = 1 << 22
	initCacheSymlinks     uint64 = 1 << 23
	initNoOpendirSupport  uint64 = 1 << 24
	initSubmounts         uint64 = 1 << 27
	initHandleKillprivV2  uint64 = 1 << 28
	initSetxattrExt       uint64 = 1 << 29
	initExt               uint64 = 1 << 30
	initSecurityCtx       uint64 = 1 << 32
	initHasInodeDAX       uint64 = 1 << 33
	initCreateSuppGroup   uint64 = 1 << 34
	initDirectIOAllowMmap uint64 = 1 << 36
	initAllowIDMap        uint64 = 1 << 40
)

// initAlways are the flags that concern only the exchange of messages; they are
// accepted whenever the guest offers them.
const initAlways = initAsyncRead | initBigWrites | initMaxPages | initExt

// featureFlags maps the flags of INIT that a file system decides about.
// vfs.FeatExport has no line: with it a guest looks up "." and "..", which no
// vfs.Name can be. vfs.FeatSubmountsEnd follows from the version.
var featureFlags = [...]struct {
	flag uint64
	feat vfs.Features
}{
	{initPOSIXLocks, vfs.FeatPOSIXLocks},
	{initAtomicOTrunc, vfs.FeatAtomicTrunc},
	{initDontMask, vfs.FeatDontMask},
	{initFlockLocks, vfs.FeatFlock},
	{initHasIoctlDir, vfs.FeatIoctlDir},
	{initAutoInvalData, vfs.FeatAutoInval},
	{initDoReaddirplus, vfs.FeatReaddirplus},
	{initReaddirplusAuto, vfs.FeatReaddirplusAuto},
	{initAsyncDIO, vfs.FeatAsyncDIO},
	{initWritebackCache, vfs.FeatWriteback},
	{initNoOpenSupport, vfs.FeatNoOpen},
	{initParallelDirops, vfs.FeatParallelDirops},
	{initPOSIXACL, vfs.FeatPOSIXACL},
	{initCacheSymlinks, vfs.FeatCacheSymlinks},
	{initNoOpendirSupport, vfs.FeatNoOpendir},
	{initSubmounts, vfs.FeatSubmounts},
	{initHandleKillprivV2, vfs.FeatKillPriv},
	{initSetxattrExt, vfs.FeatSetxattrExt},
	{initSecurityCtx, vfs.FeatSecurityContext},
	{initHasInodeDAX, vfs.FeatInodeDAX},
	{initCreateSuppGroup, vfs.FeatSuppGroups},
	{initDirectIOAllowMmap, vfs.FeatDirectIOMmap},
	{initAllowIDMap, vfs.FeatIDMap},
}

// featuresOf translates the flags of INIT.
func featuresOf(flags uint64) vfs.Features {
	var f vfs.Features
	for i := range featureFlags {
		if flags&featureFlags[i].flag != 0 {
			f |= featureFlags[i].feat
		}
	}
	return f
}

// flagsOf is the inverse of featuresOf.
func flagsOf(f vfs.Features) uint64 {
	var flags uint64
	for i := range featureFlags {
		if f&featureFlags[i].feat != 0 {
			flags |= featureFlags[i].flag
		}
	}
	return flags
}

// Flags within arguments, named as in linux/fuse.h.
const (
	getattrFH            = 1 << 0 // FUSE_GETATTR_FH
	fattrFH              = 1 << 6 // FATTR_FH
	openKillSUIDGID      = 1 << 0 // FUSE_OPEN_KILL_SUIDGID
	releaseFlockUnlock   = 1 << 1 // FUSE_RELEASE_FLOCK_UNLOCK
	writeCache           = 1 << 0 // FUSE_WRITE_CACHE
	writeKillSUIDGID     = 1 << 2 // FUSE_WRITE_KILL_SUIDGID
	fsyncFDatasync       = 1 << 0 // FUSE_FSYNC_FDATASYNC
	lkFlock              = 1 << 0 // FUSE_LK_FLOCK
	setxattrACLKillSGID  = 1 << 0 // FUSE_SETXATTR_ACL_KILL_SGID
	ioctlUnrestricted    = 1 << 1 // FUSE_IOCTL_UNRESTRICTED
	extMaxSecurityCtx    = 31     // FUSE_MAX_NR_SECCTX
	extGroups            = 32     // FUSE_EXT_GROUPS
	openFlagMask         = vfs.OpenParallelDirectWrites<<1 - 1
	setattrMask          = vfs.SetMode | vfs.SetUID | vfs.SetGID | vfs.SetSize | vfs.SetAtime | vfs.SetMtime | vfs.SetAtimeNow | vfs.SetMtimeNow | vfs.SetCtime | vfs.SetKillSUIDGID
	maxCopyFileRange     = 0xfffff000 // what fits the 32-bit reply, whole pages
	nanosecondsPerSecond = 1_000_000_000
)
