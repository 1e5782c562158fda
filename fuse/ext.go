package fuse

import (
	"encoding/binary"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// maxGroups is the most supplementary groups that one request may carry. Linux
// sends at most one, that of the parent directory.
const maxGroups = 32

// extensions decodes the extensions of a creating request into c.req. rest is
// what follows the names; there, and without a length in the header, guests
// older than 7.38 put their security context. An extension need not be there,
// but one that was not agreed in INIT, comes twice or is malformed is EINVAL.
//
// Extensions are struct fuse_ext_header or fuse_secctx_header, both of which
// are a size in bytes, a multiple of 8 that includes the header, and a number:
// up to 31 it is the count of security contexts that follow, 32 stands for
// struct fuse_supp_groups. They are not aligned in the message.
func (c *Call) extensions(rest []byte) syscall.Errno {
	ext := c.ext
	if len(rest) != 0 {
		if len(ext) != 0 || c.sess.minor >= minorExtlen {
			return syscall.EINVAL
		}
		ext = rest
	}
	c.req.Groups, c.req.Security = nil, nil
	c.security = c.security[:0]
	var seen vfs.Features
	for len(ext) != 0 {
		if len(ext) < 8 {
			return syscall.EINVAL
		}
		size, typ := binary.LittleEndian.Uint32(ext), binary.LittleEndian.Uint32(ext[4:])
		if size < 8 || size%8 != 0 || uint64(size) > uint64(len(ext)) {
			return syscall.EINVAL
		}
		body := ext[8:size]
		ext = ext[size:]
		kind := vfs.FeatSecurityContext
		if typ == extGroups {
			kind = vfs.FeatSuppGroups
		}
		if !c.sess.features.Has(kind) || seen.Has(kind) {
			return syscall.EINVAL
		}
		seen |= kind
		ok := false
		switch {
		case typ == extGroups:
			ok = c.suppGroups(body)
		case typ <= extMaxSecurityCtx:
			ok = c.securityContexts(body, int(typ))
		}
		if !ok {
			return syscall.EINVAL
		}
	}
	return 0
}

// suppGroups decodes the body of a groups extension: struct fuse_supp_groups,
// padded to 8 bytes.
func (c *Call) suppGroups(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	n := binary.LittleEndian.Uint32(b)
	if n > maxGroups || len(b) != int(4+4*n+7)&^7 {
		return false
	}
	for i := range n {
		c.groups[i] = binary.LittleEndian.Uint32(b[4+4*i:])
	}
	c.req.Groups = c.groups[:n]
	return true
}

// securityContexts decodes n security contexts, each a struct fuse_secctx, a
// name and a value, padded together to 8 bytes.
func (c *Call) securityContexts(b []byte, n int) bool {
	for range n {
		if len(b) < 8 {
			return false
		}
		size := uint64(binary.LittleEndian.Uint32(b))
		name, value, errno := xattrName(b[8:])
		if errno != 0 || size > uint64(len(value)) {
			return false
		}
		record := (8 + len(name) + int(size) + 7) &^ 7
		if record > len(b) {
			return false
		}
		c.security = append(c.security, vfs.SecurityContext{Name: name, Value: value[:size:size]})
		b = b[record:]
	}
	c.req.Security = c.security
	return len(b) == 0
}
