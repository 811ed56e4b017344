package safehttp

import "net/netip"

// specialPurpose are the ranges of the IANA IPv4 and IPv6 special-purpose address registries (RFC 6890 and its updates)
// that lie inside what is otherwise public space, and the addresses of cloud platforms that lie there too. The Lambda
// Runtime API, the container credential endpoints and the instance metadata service stand in 127.0.0.0/8,
// 169.254.0.0/16 and fc00::/7.
var specialPurpose = prefixes(
	"0.0.0.0/8",         // this network, RFC 791; connects to loopback on Linux
	"10.0.0.0/8",        // private, RFC 1918
	"100.64.0.0/10",     // carrier-grade NAT, RFC 6598; platform services of some clouds
	"127.0.0.0/8",       // loopback, RFC 1122
	"168.63.129.16/32",  // Azure's platform endpoint, in public space
	"169.254.0.0/16",    // link local, RFC 3927: cloud metadata and credentials
	"172.16.0.0/12",     // private, RFC 1918
	"192.0.0.0/24",      // IETF protocol assignments, RFC 6890
	"192.0.2.0/24",      // documentation, RFC 5737
	"192.31.196.0/24",   // AS112, RFC 7535
	"192.52.193.0/24",   // AMT, RFC 7450
	"192.88.99.0/24",    // 6to4 relay anycast, RFC 7526
	"192.168.0.0/16",    // private, RFC 1918
	"192.175.48.0/24",   // AS112, RFC 7534
	"198.18.0.0/15",     // benchmarking, RFC 2544
	"198.51.100.0/24",   // documentation, RFC 5737
	"203.0.113.0/24",    // documentation, RFC 5737
	"224.0.0.0/4",       // multicast, RFC 5771
	"240.0.0.0/4",       // reserved, RFC 1112, and broadcast, RFC 919
	"2001::/23",         // IETF protocol assignments, RFC 2928: Teredo, ORCHID, benchmarking
	"2001:db8::/32",     // documentation, RFC 3849
	"2002::/16",         // 6to4, RFC 3056: embeds an IPv4 address
	"2620:4f:8000::/48", // AS112, RFC 7534
	"3fff::/20",         // documentation, RFC 9637
)

// globalUnicast is all that IANA has allocated of IPv6 for the public Internet. Everything outside is refused: loopback,
// unique local, link local, multicast, IPv4-compatible, NAT64 (64:ff9b::/96, 64:ff9b:1::/48), which would carry an IPv4
// address past the list above, and what is allocated to nobody.
var globalUnicast = netip.MustParsePrefix("2000::/3")

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// Public reports whether an address is one on the public Internet. An IPv4-mapped IPv6 address counts as the IPv4
// address that the kernel would connect to.
func Public(addr netip.Addr) bool {
	if !addr.IsValid() || addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return false
	}
	for _, p := range specialPurpose {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}
