package tools

import (
	"math/big"
	"strconv"
	"strings"
)

// What add takes: a few digits of JSON can name a number of a billion digits (1e999999999), so that the exact sum is
// bounded before any of it is computed.
const (
	maxDigits   = 1000    // significant digits of a number and of the sum
	maxExponent = 100_000 // of ten, either way
)

// decimal is digits x 10^exponent.
type decimal struct {
	digits   big.Int
	exponent int
}

// addDecimal adds two JSON numbers (RFC 8259 section 6) exactly and answers with the sum as a JSON number in its
// shortest spelling: plain digits in the range where JavaScript writes them too, otherwise whichever is shorter.
func addDecimal(a, b string) (string, error) {
	x, err := parseDecimal(a)
	if err != nil {
		return "", err
	}
	y, err := parseDecimal(b)
	if err != nil {
		return "", err
	}
	switch {
	case y.digits.Sign() == 0:
		return x.String(), nil
	case x.digits.Sign() == 0:
		return y.String(), nil
	}
	if x.exponent < y.exponent {
		x, y = y, x
	}
	// The sum reaches from the larger number's first digit to the smaller exponent.
	if span := x.exponent - y.exponent; span+x.length() > maxDigits || y.length() > maxDigits {
		return "", Errorf("the exact sum of %s and %s has more than %d digits", clip(a), clip(b), maxDigits)
	} else if span > 0 {
		scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(span)), nil)
		x.digits.Mul(&x.digits, scale)
	}
	sum := &decimal{exponent: y.exponent}
	sum.digits.Add(&x.digits, &y.digits)
	sum.normalise()
	return sum.String(), nil
}

func parseDecimal(s string) (*decimal, error) {
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa = s[:i]
		var err error
		if exponent, err = strconv.Atoi(s[i+1:]); err != nil {
			exponent = 2 * maxExponent // beyond an int is beyond the bound
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if len(whole)+len(fraction) > maxDigits {
		return nil, Errorf("a number has more than %d digits", maxDigits)
	}
	d := &decimal{exponent: exponent - len(fraction)}
	if _, ok := d.digits.SetString(whole+fraction, 10); !ok {
		return nil, Errorf("%q is not a number", clip(s))
	}
	d.normalise()
	if d.exponent > maxExponent || d.exponent < -maxExponent {
		return nil, Errorf("%s is out of range: the exponent of ten must lie within ±%d", clip(s), maxExponent)
	}
	return d, nil
}

// normalise takes zeros from the end of the digits.
func (d *decimal) normalise() {
	if d.digits.Sign() == 0 {
		d.exponent = 0
		return
	}
	text := d.digits.String()
	if zeros := len(text) - len(strings.TrimRight(text, "0")); zeros > 0 {
		d.digits.SetString(text[:len(text)-zeros], 10)
		d.exponent += zeros
	}
}

// length is the number of digits.
func (d *decimal) length() int { return len(strings.TrimPrefix(d.digits.String(), "-")) }

func (d *decimal) String() string {
	digits, negative := strings.CutPrefix(d.digits.String(), "-")
	sign := ""
	if negative {
		sign = "-"
	}
	power := len(digits) + d.exponent - 1 // of the first digit
	scientific := digits[:1]
	if len(digits) > 1 {
		scientific += "." + digits[1:]
	}
	if power >= 0 {
		scientific += "e+" + strconv.Itoa(power)
	} else {
		scientific += "e" + strconv.Itoa(power)
	}
	if outside := power < -6 || power >= 21; outside && plainLength(len(digits), d.exponent) > len(scientific) {
		return sign + scientific
	}
	switch {
	case d.exponent >= 0:
		return sign + digits + strings.Repeat("0", d.exponent)
	case power >= 0:
		return sign + digits[:power+1] + "." + digits[power+1:]
	default:
		return sign + "0." + strings.Repeat("0", -power-1) + digits
	}
}

// plainLength is how long a number is without an exponent.
func plainLength(digits, exponent int) int {
	switch {
	case exponent >= 0:
		return digits + exponent
	case digits+exponent > 0:
		return digits + 1
	default:
		return 2 - exponent
	}
}

// clip keeps a number in a message short.
func clip(s string) string {
	if len(s) > 40 {
		return s[:37] + "..."
	}
	return s
}
