package tools

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAddDecimal(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"40", "2", "42"},
		{"0.1", "0.2", "0.3"},
		{"0.10", "0.20", "0.3"},
		{"1e15", "1", "1000000000000001"},
		{"9007199254740993", "1", "9007199254740994"},
		{"-1", "1", "0"},
		{"-0", "-0", "0"},
		{"0", "0.000001", "0.000001"},
		{"0", "0.0000001", "1e-7"},
		{"1e20", "0", "100000000000000000000"},
		{"1e21", "0", "1e+21"},
		{"1e308", "1e308", "2e+308"},
		{"1e-400", "0", "1e-400"},
		{"1e-400", "1e-400", "2e-400"},
		{"1e-999", "-1e-999", "0"},
		{"1e30", "1", "1000000000000000000000000000001"},
		{"1.5E+2", "-0.5e1", "145"},
		{"-123.456", "0.006", "-123.45"},
		{"100", "200", "300"},
		{"12345678901234567890.123456789", "0.000000001", "12345678901234567890.12345679"},
	} {
		for _, order := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			got, err := addDecimal(order[0], order[1])
			if err != nil || got != c.want {
				t.Errorf("%s + %s = %s, %v; want %s", order[0], order[1], got, err, c.want)
			}
		}
	}
}

func TestAddDecimalIsBounded(t *testing.T) {
	start := time.Now()
	for _, c := range [][2]string{
		{"1e999999999", "1"}, {"1", "1e-999999999"}, {"1e99999999999999999999", "1"}, {"1e100000", "1e-100000"}, {"1e2000", "1"},
		{strings.Repeat("9", 1001), "1"}, {"0." + strings.Repeat("1", 1001), "1"}, {"", "1"}, {"x", "1"},
	} {
		if sum, err := addDecimal(c[0], c[1]); err == nil {
			t.Errorf("%.30s + %.30s = %.30s, want an error", c[0], c[1], sum)
		} else if len(err.Error()) > 200 {
			t.Errorf("the error is %d characters long", len(err.Error()))
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("refusing took %v", took)
	}
}

// Whatever is added, the sum is exact, is JSON, and is as short as either way of writing it.
func TestAddDecimalIsExact(t *testing.T) {
	number := rapid.Custom(func(t *rapid.T) string {
		s := rapid.StringMatching(`-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?`).Draw(t, "mantissa")
		return s + rapid.SampledFrom([]string{"", "e5", "E-7", "e+30", "e-30", "e0"}).Draw(t, "exponent")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		sum, err := addDecimal(a, b)
		if err != nil {
			t.Fatal(err)
		}
		rat := func(s string) *big.Rat {
			r, ok := new(big.Rat).SetString(s)
			if !ok {
				t.Fatalf("%q is not a number", s)
			}
			return r
		}
		if want := new(big.Rat).Add(rat(a), rat(b)); rat(sum).Cmp(want) != 0 {
			t.Fatalf("%s + %s = %s", a, b, sum)
		}
		if !json.Valid([]byte(sum)) {
			t.Fatalf("%s is not JSON", sum)
		}
		if again, err := addDecimal(sum, "0"); err != nil || again != sum {
			t.Fatalf("%s is spelt again as %s, %v", sum, again, err)
		}
	})
}

func FuzzAddDecimal(f *testing.F) {
	f.Add("1e308", "0.1")
	f.Add("-0", "1e-999999999")
	f.Fuzz(func(t *testing.T, a, b string) {
		if sum, err := addDecimal(a, b); err == nil && !json.Valid([]byte(sum)) {
			t.Errorf("%q + %q = %q", a, b, sum)
		}
	})
}
