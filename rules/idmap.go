package rules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// noID is what the kernel takes for no id at all: in chown(2) it leaves an owner
// as it is, and Linux sends it for callers that do not matter. It is never
// translated, and no rule can name it.
const noID = 1<<32 - 1

// ErrIDRange is what errors of [IDMap.Add] are whose rule is well formed but
// cannot hold: its range ends beyond the largest id, or an id in it has a rule
// already.
var ErrIDRange = errors.New("the rule cannot hold")

// IDMap says which ids of the guest stand for which of the host, separately for
// either direction. Ids without a rule stand for themselves. The zero value
// changes nothing, nor does a nil *IDMap.
type IDMap struct {
	toHost, toGuest direction
}

// direction holds rules sorted by the ids that they are for, no two of which
// are for the same.
type direction []idRange

// idRange is the rule for the ids from first to last.
type idRange struct {
	first, last uint32
	to          uint32 // what first becomes
	effect      effect
}

type effect uint8

const (
	shift  effect = iota // an id keeps its distance from first
	squash               // all become one
	forbid               // none may be used
)

// idKinds are the kinds of rules: how many numbers they take and what they do.
var idKinds = map[string]struct {
	usage string
	nums  int
	side  idSide
	effect
}{
	"guest":        {"guest-base:host-base:count", 3, guestIDs, shift},
	"host":         {"host-base:guest-base:count", 3, hostIDs, shift},
	"squash-guest": {"guest-base:host-id:count", 3, guestIDs, squash},
	"squash-host":  {"host-base:guest-id:count", 3, hostIDs, squash},
	"forbid-guest": {"guest-base:count", 2, guestIDs, forbid},
	"map":          {"guest-base:host-base:count", 3, guestIDs | hostIDs, shift},
}

// idSide says whose ids a rule is for.
type idSide uint8

const (
	guestIDs idSide = 1 << iota
	hostIDs
)

func (s idSide) String() string {
	if s == guestIDs {
		return "guest"
	}
	return "host"
}

// Add adds a rule in virtiofsd's grammar, KIND:NUMBER:NUMBER[:NUMBER]:
//
//	guest:GUEST-BASE:HOST-BASE:COUNT        guest ids become host ids, one to one
//	host:HOST-BASE:GUEST-BASE:COUNT         host ids become guest ids, one to one
//	map:GUEST-BASE:HOST-BASE:COUNT          both
//	squash-guest:GUEST-BASE:HOST-ID:COUNT   guest ids all become one host id
//	squash-host:HOST-BASE:GUEST-ID:COUNT    host ids all become one guest id
//	forbid-guest:GUEST-BASE:COUNT           guest ids may not be used
//
// The separator is the first character that is no letter, digit, '-' or '_'. An
// error names the rule and what is wrong with it, and leaves the map as it was.
// Add must not be called while the map is in use.
func (m *IDMap) Add(spec string) error {
	if err := m.add(spec); err != nil {
		return fmt.Errorf("id map %q: %w", spec, err)
	}
	return nil
}

func (m *IDMap) add(spec string) error {
	fields := splitSpec(spec)
	kind, ok := idKinds[strings.ToLower(fields[0])]
	if !ok {
		return fmt.Errorf("unknown kind %q: want guest, host, map, squash-guest, squash-host or forbid-guest", fields[0])
	}
	if n := len(fields) - 1; n != kind.nums {
		return fmt.Errorf("%d numbers after the kind: want %d, %s:%s", n, kind.nums, strings.ToLower(fields[0]), kind.usage)
	}
	var nums [3]uint32
	for i, f := range fields[1:] {
		n, err := strconv.ParseUint(strings.TrimPrefix(f, "+"), 10, 32)
		switch {
		case errors.Is(err, strconv.ErrRange):
			return fmt.Errorf("%s is too large for an id: the largest is %d", f, uint32(noID-1))
		case err != nil:
			return fmt.Errorf("%q is not a number", f)
		}
		nums[i] = uint32(n)
	}
	from, to, count := nums[0], nums[1], nums[kind.nums-1]
	if count == 0 {
		return nil
	}
	// What a rule leads to must be ids too, of which squash has one.
	width := count
	if kind.effect == squash {
		width = 1
	}
	switch {
	case from > noID-count:
		return fmt.Errorf("%w: %d ids from %d on go beyond the largest, %d", ErrIDRange, count, from, uint32(noID-1))
	case kind.effect != forbid && to > noID-width:
		return fmt.Errorf("%w: %d ids from %d on go beyond the largest, %d", ErrIDRange, width, to, uint32(noID-1))
	}
	there := idRange{from, from + (count - 1), to, kind.effect}
	if kind.side == guestIDs|hostIDs {
		back := idRange{to, to + (count - 1), from, kind.effect}
		if err := m.toHost.overlap(there, guestIDs); err != nil {
			return err
		}
		if err := m.toGuest.overlap(back, hostIDs); err != nil {
			return err
		}
		m.toHost.insert(there)
		m.toGuest.insert(back)
		return nil
	}
	d := &m.toHost
	if kind.side == hostIDs {
		d = &m.toGuest
	}
	if err := d.overlap(there, kind.side); err != nil {
		return err
	}
	d.insert(there)
	return nil
}

// splitSpec divides a rule at its separator.
func splitSpec(spec string) []string {
	i := strings.IndexFunc(spec, func(c rune) bool {
		return c != '-' && c != '_' && !unicode.IsLetter(c) && !unicode.IsNumber(c)
	})
	if i < 0 {
		return []string{spec}
	}
	_, n := utf8.DecodeRuneInString(spec[i:])
	return strings.Split(spec, spec[i:i+n])
}

// overlap is the error that adding n would be, if any.
func (d direction) overlap(n idRange, side idSide) error {
	for _, r := range d {
		if n.first <= r.last && r.first <= n.last {
			return fmt.Errorf("%w: the %s ids %d to %d have a rule already", ErrIDRange, side, max(n.first, r.first), min(n.last, r.last))
		}
	}
	return nil
}

func (d *direction) insert(n idRange) {
	i, _ := slices.BinarySearchFunc(*d, n.first, func(r idRange, id uint32) int {
		if r.first < id {
			return -1
		}
		return 1
	})
	*d = slices.Insert(*d, i, n)
}

// translate looks an id up. ok is false for a forbidden one.
func (d direction) translate(id uint32) (to uint32, ok bool) {
	// Find the first rule that ends at id or later.
	lo, hi := 0, len(d)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if d[mid].last < id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(d) || d[lo].first > id {
		return id, true
	}
	switch r := &d[lo]; r.effect {
	case shift:
		return r.to + (id - r.first), true
	case squash:
		return r.to, true
	}
	return noID, false
}

// ToHost returns the host's id for one of the guest; ok is false for a forbidden
// one.
func (m *IDMap) ToHost(id uint32) (host uint32, ok bool) {
	if m == nil {
		return id, true
	}
	return m.toHost.translate(id)
}

// ToGuest returns the guest's id for one of the host.
func (m *IDMap) ToGuest(id uint32) uint32 {
	if m == nil {
		return id
	}
	id, _ = m.toGuest.translate(id)
	return id
}

// Empty reports whether the map has no rules.
func (m *IDMap) Empty() bool {
	return m == nil || len(m.toHost) == 0 && len(m.toGuest) == 0
}
