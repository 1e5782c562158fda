package rules

import (
	"bytes"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

func parse(t testing.TB, s string) *XattrMap {
	t.Helper()
	m, err := ParseXattrMap(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// These maps are those of virtiofsd's manual and of its users.
const (
	mapAll        = ":map::user.virtiofs.:"
	mapCapability = ":map:security.capability:trusted.virtiofs.:"
	mapTrusted    = "/prefix/all/trusted./user.virtiofs./\n /bad/server//trusted./\n /bad/client/user.virtiofs.//\n /ok/all///"
	hideSecurity  = "/bad/all/security./security./ /ok/all///"
)

func TestXattrMapNames(t *testing.T) {
	const hidden = ""
	for _, tt := range []struct {
		rules  string
		client map[string]any    // what becomes of a guest's name: a name or an errno
		server map[string]string // what a guest sees of a host's name
	}{
		{":ok:all:::", map[string]any{"user.a": "user.a", "x": "x"}, map[string]string{"user.a": "user.a"}},
		{":bad:all:::", map[string]any{"user.a": syscall.EPERM}, map[string]string{"user.a": hidden}},
		{":unsupported:all:::", map[string]any{"user.a": syscall.ENOTSUP}, map[string]string{"user.a": hidden}},
		{":prefix:all::user.v.:", map[string]any{"user.a": "user.v.user.a"}, map[string]string{"user.v.user.a": "user.a", "user.a": hidden, "user.v.": hidden}},
		{":prefix:all:::", map[string]any{"user.a": "user.a"}, map[string]string{"user.a": "user.a"}},
		{mapAll, map[string]any{"user.a": "user.virtiofs.user.a", "user.virtiofs.a": "user.virtiofs.user.virtiofs.a"},
			map[string]string{"user.virtiofs.user.a": "user.a", "user.a": hidden, "trusted.a": hidden}},
		{mapCapability, map[string]any{
			"security.capability": "trusted.virtiofs.security.capability", "security.selinux": "security.selinux", "user.a": "user.a",
			"trusted.virtiofs.security.capability": syscall.EPERM, "trusted.virtiofs.": syscall.EPERM, "trusted.virtiofs": "trusted.virtiofs",
		}, map[string]string{
			"trusted.virtiofs.security.capability": "security.capability", "security.capability": hidden, "trusted.virtiofs.user.a": hidden, "user.a": "user.a",
		}},
		{mapTrusted, map[string]any{"trusted.a": "user.virtiofs.trusted.a", "user.virtiofs.a": syscall.EPERM, "user.a": "user.a"},
			map[string]string{"user.virtiofs.trusted.a": "trusted.a", "trusted.a": hidden, "user.virtiofs.user.a": hidden, "user.a": "user.a"}},
		{hideSecurity, map[string]any{"security.selinux": syscall.EPERM, "user.a": "user.a"}, map[string]string{"security.selinux": hidden, "user.a": "user.a"}},
		{":prefix:all:trusted.:user.virtiofs.:", map[string]any{"trusted.a": "user.virtiofs.trusted.a", "user.a": syscall.EPERM},
			map[string]string{"user.virtiofs.trusted.a": "trusted.a", "user.a": hidden}},
		{":ok:client:user.:::ok:server::trusted.:", map[string]any{"user.a": "user.a", "trusted.a": syscall.EPERM},
			map[string]string{"user.a": hidden, "trusted.a": hidden}},
		// The first rule that matches decides.
		{":bad:all:user.a:user.a::unsupported:all:user.:user.::ok:all:::", map[string]any{"user.ab": syscall.EPERM, "user.b": syscall.ENOTSUP, "b": "b"},
			map[string]string{"user.ab": hidden, "user.b": hidden, "b": "b"}},
		// Each rule has its separator, and space between rules is free.
		{" \t:ok:all:a:a:\n\n xokxallxbxbx  éokéallééé", map[string]any{"a": "a", "c": "c"}, map[string]string{"b": "b"}},
		{":ok:all: a: a::map:b:c:", map[string]any{" ab": " ab", "ba": "cba", "c": syscall.EPERM, "d": "d"}, map[string]string{"cba": "ba", "b": hidden}},
		{":map:a::", map[string]any{"ab": "ab", "b": syscall.EPERM}, map[string]string{"ab": "ab"}},
		{":map:::", map[string]any{"ab": "ab"}, map[string]string{"ab": "ab"}},
	} {
		m := parse(t, tt.rules)
		for n, want := range tt.client {
			add, errno := m.client([]byte(n))
			var got any = add + n
			if errno != 0 {
				got = errno
			}
			if got != want {
				t.Errorf("%q: the guest's %q is %v, want %v", tt.rules, n, got, want)
			}
		}
		for n, want := range tt.server {
			if got := string(m.server([]byte(n))); got != want {
				t.Errorf("%q: the host's %q is %q, want %q", tt.rules, n, got, want)
			}
		}
	}
}

func TestXattrMapErrors(t *testing.T) {
	for _, tt := range []struct{ rules, text string }{
		{"", "xattr map: no rules: want :TYPE:SCOPE:KEY:PREPEND: or :map:KEY:PREPEND:"},
		{" \n\t ", "xattr map: no rules"},
		{":foo:all:::", `rule 1: unknown type "foo": want prefix, ok, bad, unsupported or map`},
		{":OK:all:::", `rule 1: unknown type "OK"`},
		{": ok :all:::", `rule 1: unknown type " ok "`},
		{":ok:foo:::", `rule 1: unknown scope "foo": want client, server or all`},
		{":ok:all::: :bad:any:::", `rule 2: unknown scope "any"`},
		{":ok:all::", `rule 1: incomplete: no ":" after the prepend in ":ok:all::"`},
		{":ok:all:", `rule 1: incomplete: no ":" after the key in ":ok:all:"`},
		{":ok:all", `rule 1: incomplete: no ":" after the scope`},
		{":ok", `rule 1: incomplete: no ":" after the type`},
		{":", `rule 1: incomplete: no ":" after the type`},
		{"::all:::", `rule 1: unknown type ""`},
		{":ok:all:a:b:c:", `rule 2: incomplete: no "c" after the type in "c:"`},
		{":map:a:b", `rule 1: incomplete: no ":" after the prepend`},
		{":map:a", `rule 1: incomplete: no ":" after the key`},
		{":map:a:b::ok:all:::", `rule 1: a map rule must be the last, but ":ok:all:::" follows`},
		{":ok:all::: :map:a:b: :map:c:d:", `rule 2: a map rule must be the last, but " :map:c:d:" follows`},
		{":ok:all:a\x00b::", `rule 1: the key "a\x00b" holds a NUL, which no name does`},
		{"é:ok:all:::", `rule 1: incomplete: no "é" after the type`},
	} {
		m, err := ParseXattrMap(tt.rules)
		if err == nil || m != nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%q: %v; want %q", tt.rules, err, tt.text)
		}
	}
}

func TestXattrMapCapability(t *testing.T) {
	for _, tt := range []struct{ rules, want string }{
		{":ok:all:::", ""},
		{":bad:all:::", ""},
		{":map:user.:trusted.:", ""},
		{":map:security.capability::", ""},
		{":prefix:server:security.capability:user.::ok:client:::", ""},
		{":bad:client:security.:::prefix:all::user.:", ""},
		{mapCapability, "trusted.virtiofs.security.capability\x00"},
		{mapAll, "user.virtiofs.security.capability\x00"},
		{":prefix:client:sec:x.:", "x.security.capability\x00"},
		{":prefix:all::" + strings.Repeat("x", maxXattrName-len(capabilityName)) + ":", strings.Repeat("x", maxXattrName-len(capabilityName)) + capabilityName + "\x00"},
		{":prefix:all::" + strings.Repeat("x", maxXattrName-len(capabilityName)+1) + ":", ""}, // can never be set
	} {
		if got := string(parse(t, tt.rules).capability); got != tt.want {
			t.Errorf("%q: capabilities are kept in %q, want %q", tt.rules, got, tt.want)
		}
	}
}

func FuzzXattrMap(f *testing.F) {
	names := "user.a\x00user.virtiofs.user.a\x00security.capability\x00trusted.virtiofs.security.capability\x00a\x00ba\x00"
	for _, s := range []string{
		":ok:all:::", mapAll, mapCapability, mapTrusted, hideSecurity, ":unsupported:client:a:: :prefix:all::b: :map:a:b:",
		":prefix:all:a:b::ok:all:::", ":prefix:server::b::prefix:client::b:", "éokéallééé", ":map:::", "\xffok\xff", ":ok:all:a:b", "",
	} {
		f.Add(s, names)
	}
	f.Fuzz(func(t *testing.T, rules, names string) {
		m, err := ParseXattrMap(rules)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "xattr map: ") || m != nil {
				t.Fatalf("%q: %v", rules, err)
			}
			return
		}
		seen := map[string]string{}
		var visible []byte
		for host := range strings.SplitSeq(names, "\x00") {
			add, errno := m.client([]byte(host))
			if errno != 0 && errno != syscall.EPERM && errno != syscall.ENOTSUP {
				t.Fatalf("%q: %q is %v", rules, host, errno)
			}
			if !strings.Contains(rules, add) {
				t.Fatalf("%q puts %q before %q", rules, add, host)
			}
			name := string(m.server([]byte(host)))
			if name == "" {
				continue
			}
			if other, ok := seen[name]; ok && other != host {
				t.Fatalf("%q: the host's %q and %q both look like %q", rules, host, other, name)
			}
			seen[name] = host
			if add, errno := m.client([]byte(name)); errno != 0 || add+name != host {
				t.Fatalf("%q: the host's %q is listed as %q, by which the guest gets %q, %v", rules, host, name, add+name, errno)
			}
			visible = append(append(visible, name...), 0)
		}
		list := []byte(names + "\x00")
		if n := m.toClient(list, true); !bytes.Equal(list[:n], visible) {
			t.Fatalf("%q: the list %q becomes %q, want %q", rules, names, list[:n], visible)
		}
		if m.capability != nil {
			add, errno := m.client([]byte(capabilityName))
			if errno != 0 || add == "" || fmt.Sprintf("%s%s\x00", add, capabilityName) != string(m.capability) {
				t.Fatalf("%q: capabilities are kept in %q, but the guest's are in %q, %v", rules, m.capability, add, errno)
			}
		}
	})
}
