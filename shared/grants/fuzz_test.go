package grants

import (
	"strings"
	"testing"
)

// FuzzToken: a secret has one spelling and one kind, and only the very token that was issued is genuine.
func FuzzToken(f *testing.F) {
	x := newFixture(f)
	code := x.create(newGrant(""))
	issued, err := x.redeem(redemption(code))
	if err != nil {
		f.Fatal(err)
	}
	g, err := Decode(*x.item(issued.RefreshToken))
	if err != nil {
		f.Fatal(err)
	}
	for _, token := range []string{code, issued.AccessToken, issued.RefreshToken} {
		f.Add(token)
		f.Add(token + "A")
		f.Add(token[:len(token)-1] + "_")
		f.Add(strings.ToUpper(token))
		f.Add("rt" + token[2:])
		f.Add(" " + token)
	}
	f.Add("")
	f.Add("rt__")
	f.Fuzz(func(t *testing.T, token string) {
		kind, id, ok := split(token)
		if ok && (string(kind)+"_"+id+"_"+token[len(token)-len(token[4+idLength:]):] != token || !isBase62(id) || strings.Count(token, "_") != 2) {
			t.Errorf("%q was taken apart as %s, %s", token, kind, id)
		}
		kinds := 0
		for _, k := range []Kind{KindCode, KindAccess, KindRefresh} {
			if named, is := k.GrantID(token); is {
				kinds++
				if named != id || k != kind {
					t.Errorf("%q is a %s of %s", token, k, named)
				}
			}
		}
		if ok != (kinds == 1) {
			t.Errorf("%q has %d kinds", token, kinds)
		}
		if gen, genuine := genuineRefresh(g.Family.MACKey, token); genuine && token != issued.RefreshToken {
			t.Errorf("%q passes for a refresh token of generation %s", token, gen)
		}
		if matches(g.Family.Hash, token) != (token == issued.RefreshToken) {
			t.Errorf("%q matches", token)
		}
	})
}
