package rules

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// maxXattrName is the longest name of an attribute, in bytes (XATTR_NAME_MAX of
// linux/limits.h).
const maxXattrName = 255

// XattrMap says by which names a guest knows the extended attributes of the
// host. It does not change once it is parsed.
type XattrMap struct {
	rules []xattrRule
	// capability is the host's name, with its NUL, for what a guest calls
	// security.capability, if that is another name.
	capability []byte
}

// xattrRule is one rule of a map.
type xattrRule struct {
	scope   xattrScope
	key     string        // the guest's names begin with it
	prepend string        // the host's names begin with it
	add     string        // what the host has before the guest's name
	refuse  syscall.Errno // or zero
}

// xattrScope says for which names a rule is.
type xattrScope uint8

const (
	clientNames xattrScope = 1 << iota // those that a guest sends
	serverNames                        // those that the host lists
)

var xattrScopes = map[string]xattrScope{
	"client": clientNames,
	"server": serverNames,
	"all":    clientNames | serverNames,
}

// xattrTypes are the types of rules, with what is refused by them.
var xattrTypes = map[string]syscall.Errno{
	"prefix":      0,
	"ok":          0,
	"bad":         syscall.EPERM,
	"unsupported": syscall.ENOTSUP,
}

// ParseXattrMap parses rules in virtiofsd's grammar:
//
//	:TYPE:SCOPE:KEY:PREPEND:   …   or, as the last rule,   :map:KEY:PREPEND:
//
// The separator is whatever character a rule begins with; there may be space
// between rules. The first rule that matches a name decides. One of scope client
// matches names that the guest sends and that begin with KEY, one of scope server
// names that the host lists and that begin with PREPEND; all is both. An empty
// KEY or PREPEND matches every name. The types are
//
//	prefix        the host has PREPEND before the guest's name
//	ok            the name is the same
//	bad           EPERM for the guest, ENODATA where it reads; not listed
//	unsupported   ENOTSUP for the guest; not listed
//
// What no rule matches is as if the last rule were bad.
//
// The rule map stands for others. It prefixes the names that begin with KEY, and
// keeps the guest from reaching both what is prefixed and the host's own names
// that begin with KEY; other names are the same, or, if KEY is empty, bad.
//
// An error names the rule, counted from 1, and what was found in it.
func ParseXattrMap(s string) (*XattrMap, error) {
	m := &XattrMap{}
	for n := 1; ; n++ {
		s = strings.TrimLeftFunc(s, unicode.IsSpace)
		if s == "" && n == 1 {
			return nil, errors.New("xattr map: no rules: want :TYPE:SCOPE:KEY:PREPEND: or :map:KEY:PREPEND:")
		}
		if s == "" {
			break
		}
		rest, last, err := m.parseRule(s)
		if err == nil && last && strings.TrimSpace(rest) != "" {
			err = fmt.Errorf("a map rule must be the last, but %q follows", rest)
		}
		if err != nil {
			return nil, fmt.Errorf("xattr map: rule %d: %w", n, err)
		}
		s = rest
	}
	m.setCapability()
	return m, nil
}

// parseRule adds the rule at the beginning of s and returns what follows it.
// last says that nothing may.
func (m *XattrMap) parseRule(s string) (rest string, last bool, err error) {
	_, n := utf8.DecodeRuneInString(s)
	sep := s[:n]
	p := fieldParser{rule: s, rest: s[n:], sep: sep}
	typ := p.next("type")
	if typ == "map" {
		key, prepend := p.next("key"), p.next("prepend")
		if p.err != nil {
			return "", false, p.err
		}
		m.addMap(key, prepend)
		return p.rest, true, nil
	}
	refuse, ok := xattrTypes[typ]
	if p.err == nil && !ok {
		return "", false, fmt.Errorf("unknown type %q: want prefix, ok, bad, unsupported or map", typ)
	}
	scopeName := p.next("scope")
	scope, ok := xattrScopes[scopeName]
	if p.err == nil && !ok {
		return "", false, fmt.Errorf("unknown scope %q: want client, server or all", scopeName)
	}
	r := xattrRule{scope: scope, key: p.next("key"), prepend: p.next("prepend"), refuse: refuse}
	if p.err != nil {
		return "", false, p.err
	}
	if typ == "prefix" {
		r.add = r.prepend
	}
	m.rules = append(m.rules, r)
	return p.rest, false, nil
}

// fieldParser takes a rule apart. After an error its fields are empty.
type fieldParser struct {
	rule, rest, sep string
	err             error
}

// next returns the field before the next separator.
func (p *fieldParser) next(what string) string {
	if p.err != nil {
		return ""
	}
	field, rest, ok := strings.Cut(p.rest, p.sep)
	switch {
	case !ok:
		p.err = fmt.Errorf("incomplete: no %q after the %s in %q", p.sep, what, p.rule)
		return ""
	case strings.Contains(field, "\x00"):
		p.err = fmt.Errorf("the %s %q holds a NUL, which no name does", what, field)
		return ""
	}
	p.rest = rest
	return field
}

// addMap adds what the rule map stands for.
func (m *XattrMap) addMap(key, prepend string) {
	const all = clientNames | serverNames
	m.rules = append(m.rules, xattrRule{scope: all, key: key, prepend: prepend, add: prepend})
	rest := xattrRule{scope: all, refuse: syscall.EPERM}
	if key != "" {
		m.rules = append(m.rules, xattrRule{scope: all, key: prepend, prepend: key, refuse: syscall.EPERM})
		rest.refuse = 0
	}
	m.rules = append(m.rules, rest)
}

const capabilityName = "security.capability"

// setCapability finds out whether the guest's capabilities of files are
// something else to the host.
func (m *XattrMap) setCapability() {
	add, errno := m.client([]byte(capabilityName))
	if errno == 0 && add != "" && len(add)+len(capabilityName) <= maxXattrName {
		m.capability = []byte(add + capabilityName + "\x00")
	}
}

// client decides about a name, without NUL, that the guest sends: what the host
// has before it, or why it is refused.
func (m *XattrMap) client(name []byte) (add string, errno syscall.Errno) {
	for i := range m.rules {
		r := &m.rules[i]
		if r.scope&clientNames != 0 && hasPrefix(name, r.key) {
			return r.add, r.refuse
		}
	}
	return "", syscall.EPERM
}

// server returns the part of a name, without NUL, that the guest is to see of it
// in a list, or nil for none. What is seen is also what gets there: a name that
// the guest could only use for something else, or not at all, is not listed. So
// no two names of the host look the same.
func (m *XattrMap) server(host []byte) []byte {
	for i := range m.rules {
		r := &m.rules[i]
		if r.scope&serverNames == 0 || !hasPrefix(host, r.prepend) {
			continue
		}
		if r.refuse != 0 {
			return nil
		}
		name := host[len(r.add):]
		if add, errno := m.client(name); len(name) == 0 || errno != 0 || add != r.add {
			return nil
		}
		return name
	}
	return nil
}

// toClient turns a list of the host's names, each with its NUL, into that which
// the guest is to see, in place, and returns how long it is: no longer than it
// was.
func (m *XattrMap) toClient(list []byte, acls bool) int {
	kept := 0
	for rest := list; len(rest) != 0; {
		end := bytes.IndexByte(rest, 0)
		if end < 0 {
			break
		}
		if name := m.server(rest[:end]); name != nil && (acls || !isACL(name)) {
			kept += copy(list[kept:], name)
			list[kept] = 0
			kept++
		}
		rest = rest[end+1:]
	}
	return kept
}

// isACL tells the attributes that hold POSIX access control lists.
func isACL(name []byte) bool {
	return string(name) == "system.posix_acl_access" || string(name) == "system.posix_acl_default"
}

func hasPrefix(name []byte, prefix string) bool {
	return len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix
}
