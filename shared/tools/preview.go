package tools

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
)

// Preview is the painter for want of a model: it draws a landscape whose palette, light and ridges follow from the
// prompt, the same each time, with one range of hills for each step, and marks it as a preview.
type Preview struct{}

const (
	previewWidth, previewHeight = 768, 512
	previewModel                = "preview"
)

// Steps says what a step is here.
func (Preview) Steps() string {
	return "No image model is configured on this server, so it draws a preview: a landscape that follows from the prompt, with more ranges of hills for more steps."
}

// Paint draws sky and sun in the first step, a range of hills in each further one, and the caption in the last.
func (Preview) Paint(ctx context.Context, r PaintRequest, step func(int)) (Picture, error) {
	digest := sha256.Sum256([]byte(r.Prompt))
	random := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(digest[:8]), binary.LittleEndian.Uint64(digest[8:16])))
	c := canvas{image.NewNRGBA(image.Rect(0, 0, previewWidth, previewHeight))}
	p := choosePalette(r.Prompt, random)

	c.sky(p, random)
	step(1)
	ranges := r.Steps - 1
	for n := range ranges {
		if err := ctx.Err(); err != nil {
			return Picture{}, fmt.Errorf("drawing preview: %w", err)
		}
		c.hills(p, n, ranges, random)
		if n < ranges-1 {
			step(n + 2)
		}
	}
	if err := c.caption(r.Prompt); err != nil {
		return Picture{}, fmt.Errorf("drawing preview: %w", err)
	}
	var data bytes.Buffer
	if err := png.Encode(&data, c.NRGBA); err != nil {
		return Picture{}, fmt.Errorf("encoding preview: %w", err)
	}
	step(r.Steps)
	return Picture{
		Data: data.Bytes(), MIMEType: "image/png", Model: previewModel,
		Note: "This is a preview drawn by the server; no image model is configured.",
	}, nil
}

type canvas struct{ *image.NRGBA }

// blend lays a colour over a pixel; cover is 0 to 1.
func (c canvas) blend(x, y int, over rgb, cover float64) {
	if cover <= 0 {
		return
	}
	under := c.NRGBAAt(x, y)
	c.set(x, y, rgb{float64(under.R), float64(under.G), float64(under.B)}.mix(over, min(cover, 1)))
}

func (c canvas) set(x, y int, v rgb) {
	c.SetNRGBA(x, y, color.NRGBA{uint8(v.r + 0.5), uint8(v.g + 0.5), uint8(v.b + 0.5), 255})
}

// sky fills the canvas with a gradient, stars where it is dark, and a sun or moon with its glow.
func (c canvas) sky(p palette, random *rand.Rand) {
	for y := range previewHeight {
		t := float64(y) / (previewHeight * 0.72)
		row := p.zenith.mix(p.horizon, math.Pow(min(t, 1), 1.3))
		for x := range previewWidth {
			c.set(x, y, row)
		}
	}
	if p.stars {
		for range 150 {
			x, y := random.IntN(previewWidth), random.IntN(previewHeight*3/5)
			c.blend(x, y, rgb{255, 255, 255}, 0.25+0.65*random.Float64())
		}
	}
	cx := previewWidth * (0.22 + 0.56*random.Float64())
	cy := previewHeight * (0.22 + 0.22*random.Float64())
	radius := 26 + 22*random.Float64()
	reach := radius * 5
	for y := max(0, int(cy-reach)); y < min(previewHeight, int(cy+reach)); y++ {
		for x := max(0, int(cx-reach)); x < min(previewWidth, int(cx+reach)); x++ {
			distance := math.Hypot(float64(x)-cx, float64(y)-cy)
			if glow := 1 - (distance-radius)/(reach-radius); distance > radius && glow > 0 {
				c.blend(x, y, p.light, 0.42*glow*glow*glow)
			}
			c.blend(x, y, p.light, radius-distance+0.5) // the disc, its edge smooth over one pixel
		}
	}
}

// hills draws range n of several, the farthest first: paler and smoother far away, darker and rougher near.
func (c canvas) hills(p palette, n, ranges int, random *rand.Rand) {
	near := float64(n+1) / float64(ranges)
	base := previewHeight * (0.50 + 0.40*near)
	height := previewHeight * (0.20 - 0.08*near)
	ridge := newRidge(random, 1.6+2.2*near)
	top := p.horizon.mix(p.ground, 0.25+0.75*near)
	foot := top.mix(p.horizon, 0.35*(1-near)) // mist gathers in the valleys
	for x := range previewWidth {
		edge := base - height*ridge.at(float64(x)/previewWidth)
		first := max(0, int(math.Floor(edge)))
		for y := first; y < previewHeight; y++ {
			t := min(1, (float64(y)-edge)/(previewHeight*0.25))
			c.blend(x, y, top.mix(foot, max(t, 0)), float64(y+1)-edge)
		}
	}
}

// ridge is a sum of octaves of value noise, from 0 to about 1.
type ridge struct {
	octaves [5][]float64
	scale   float64
}

func newRidge(random *rand.Rand, scale float64) ridge {
	r := ridge{scale: scale}
	for i := range r.octaves {
		r.octaves[i] = make([]float64, int(scale*float64(int(1)<<i))+3)
		for j := range r.octaves[i] {
			r.octaves[i][j] = random.Float64()
		}
	}
	return r
}

func (r ridge) at(x float64) float64 {
	sum, weight := 0.0, 0.5
	for i, values := range r.octaves {
		position := x * r.scale * float64(int(1)<<i)
		cell := int(position)
		t := position - float64(cell)
		t = t * t * (3 - 2*t)
		sum += weight * (values[cell]*(1-t) + values[cell+1]*t)
		weight *= 0.45
	}
	return sum
}
