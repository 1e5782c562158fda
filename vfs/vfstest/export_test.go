package vfstest

// AreaNames returns the names of all areas, in their order.
func AreaNames() []string {
	var names []string
	for _, a := range areas {
		names = append(names, a.name)
	}
	return names
}
