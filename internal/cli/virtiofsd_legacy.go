package cli

import (
	"fmt"
	"strings"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
)

// legacyChange is one item of an -o list, checked.
type legacyChange func(*virtiofsdOptions)

// legacyFlags are the words of an -o list that stand alone.
var legacyFlags = map[string]legacyChange{
	"xattr":              func(o *virtiofsdOptions) { o.xattr = true },
	"no_xattr":           func(o *virtiofsdOptions) { o.xattr = false },
	"readdirplus":        func(o *virtiofsdOptions) { o.noReaddirplus = false },
	"no_readdirplus":     func(o *virtiofsdOptions) { o.noReaddirplus = true },
	"writeback":          func(o *virtiofsdOptions) { o.writeback = true },
	"no_writeback":       func(o *virtiofsdOptions) { o.writeback = false },
	"allow_direct_io":    func(o *virtiofsdOptions) { o.directIO = true },
	"no_allow_direct_io": func(o *virtiofsdOptions) { o.directIO = false },
	"announce_submounts": func(o *virtiofsdOptions) { o.submounts = true },
	"killpriv_v2":        func(o *virtiofsdOptions) { o.killpriv = true },
	"no_killpriv_v2":     func(o *virtiofsdOptions) { o.killpriv = false },
	"posix_acl":          func(o *virtiofsdOptions) { o.posixACL = passthrough.NegotiateAlways },
	"no_posix_acl":       func(o *virtiofsdOptions) { o.posixACL = passthrough.NegotiateNever },
	"security_label":     func(o *virtiofsdOptions) { o.securityLabel = passthrough.NegotiateAlways },
	"no_security_label":  func(o *virtiofsdOptions) { o.securityLabel = passthrough.NegotiateNever },
	// Locks of guests are never locks of the host here, so these ask for nothing.
	"no_posix_lock": func(*virtiofsdOptions) {},
	"no_flock":      func(*virtiofsdOptions) {},
}

// legacyValues are the words of an -o list that take a value.
var legacyValues = map[string]func(value string) (legacyChange, error){
	"source": func(v string) (legacyChange, error) {
		return func(o *virtiofsdOptions) { o.sharedDir, o.hasDir = v, true }, nil
	},
	"cache": func(v string) (legacyChange, error) {
		p, err := legacyCaches.find(v, false)
		return func(o *virtiofsdOptions) { o.cache = p }, err
	},
	"loglevel": func(v string) (legacyChange, error) {
		l, err := legacyLevels.find(v, false)
		return func(o *virtiofsdOptions) { o.level = l }, err
	},
	"sandbox": func(v string) (legacyChange, error) {
		m, err := legacySandboxes.find(v, false)
		return func(o *virtiofsdOptions) { o.sandbox = m }, err
	},
	"xattrmap": func(v string) (legacyChange, error) {
		m, err := rules.ParseXattrMap(v)
		return func(o *virtiofsdOptions) { o.xattrMap = m }, err
	},
	"modcaps": func(v string) (legacyChange, error) {
		return func(o *virtiofsdOptions) { o.modcaps, o.hasModcaps = v, true }, nil
	},
}

// parseLegacy reads an -o list. Items are separated by commas; two commas stand
// for one inside an item, as libvirt writes them. What follows the first equals
// sign of an item is its value.
func parseLegacy(list string) ([]legacyChange, error) {
	var changes []legacyChange
	for _, item := range splitLegacy(list) {
		key, value, hasValue := strings.Cut(item, "=")
		if !hasValue {
			change, ok := legacyFlags[key]
			if !ok {
				return nil, fmt.Errorf("there is no -o option %q", item)
			}
			changes = append(changes, change)
			continue
		}
		parse, ok := legacyValues[key]
		if !ok {
			return nil, fmt.Errorf("there is no -o option %q that takes a value", key)
		}
		change, err := parse(value)
		if err != nil {
			return nil, fmt.Errorf("-o %s=%s: %w", key, value, err)
		}
		changes = append(changes, change)
	}
	return changes, nil
}

// splitLegacy splits at single commas and makes one of two.
func splitLegacy(list string) []string {
	var items []string
	var item strings.Builder
	for i := 0; i < len(list); i++ {
		switch {
		case list[i] != ',':
			item.WriteByte(list[i])
		case strings.HasPrefix(list[i:], ",,"):
			item.WriteByte(',')
			i++
		default:
			items = append(items, item.String())
			item.Reset()
		}
	}
	return append(items, item.String())
}
