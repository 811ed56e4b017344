package tools

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// The fonts are parsed on the first picture. A face is not safe for concurrent use, so each picture makes its own.
var captionFonts = sync.OnceValues(func() (fonts struct{ regular, bold *opentype.Font }, err error) {
	if fonts.regular, err = opentype.Parse(goregular.TTF); err != nil {
		return fonts, fmt.Errorf("parsing font: %w", err)
	}
	if fonts.bold, err = opentype.Parse(gobold.TTF); err != nil {
		return fonts, fmt.Errorf("parsing font: %w", err)
	}
	return fonts, nil
})

// caption writes the prompt at the foot of the picture and PREVIEW in its corner.
func (c canvas) caption(prompt string) error {
	const margin, line, lines = 24, 27, 2
	fonts, err := captionFonts()
	if err != nil {
		return err
	}
	text, err := opentype.NewFace(fonts.regular, &opentype.FaceOptions{Size: 20, DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		return fmt.Errorf("making face: %w", err)
	}
	defer text.Close()
	label, err := opentype.NewFace(fonts.bold, &opentype.FaceOptions{Size: 15, DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		return fmt.Errorf("making face: %w", err)
	}
	defer label.Close()

	wrapped := wrap(text, prompt, previewWidth-2*margin, lines)
	top := previewHeight - margin - line*len(wrapped)
	for y := top - 3*line; y < previewHeight; y++ { // a shade that the text stands out from, whatever lies below
		cover := min(0.62, 0.62*float64(y-(top-3*line))/(3*line))
		for x := range previewWidth {
			c.blend(x, y, rgb{8, 10, 18}, cover)
		}
	}
	for i, words := range wrapped {
		c.write(text, words, margin, top+line*i+20, color.White)
	}

	const word = "PREVIEW"
	width := font.MeasureString(label, word).Ceil()
	draw.Draw(c.NRGBA, image.Rect(margin, margin, margin+width+20, margin+28), image.NewUniform(color.NRGBA{8, 10, 18, 150}), image.Point{}, draw.Over)
	c.write(label, word, margin+10, margin+20, color.White)
	return nil
}

func (c canvas) write(face font.Face, text string, x, y int, ink color.Color) {
	drawer := font.Drawer{Dst: c.NRGBA, Src: image.NewUniform(ink), Face: face, Dot: fixed.P(x, y)}
	drawer.DrawString(text)
}

// wrap breaks text into at most limit lines of width pixels, with an ellipsis where it had to be cut.
func wrap(face font.Face, text string, width, limit int) []string {
	fits := func(s string) bool { return font.MeasureString(face, s).Ceil() <= width }
	words := strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
	var lines []string
	for len(words) > 0 && len(lines) < limit {
		current := words[0]
		words = words[1:]
		for len(words) > 0 && fits(current+" "+words[0]) {
			current += " " + words[0]
			words = words[1:]
		}
		cut := len(lines) == limit-1 && len(words) > 0
		if runes := []rune(current); cut || !fits(current) {
			low, high := 0, len(runes) // the longest beginning that fits with its ellipsis
			for low < high {
				if middle := (low + high + 1) / 2; fits(string(runes[:middle]) + "…") {
					low = middle
				} else {
					high = middle - 1
				}
			}
			current = strings.TrimRight(string(runes[:low]), " ,.;:") + "…"
		}
		lines = append(lines, current)
	}
	return lines
}
