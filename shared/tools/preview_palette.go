package tools

import (
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"
)

type rgb struct{ r, g, b float64 }

// mix goes from one colour (t 0) to the other (t 1).
func (c rgb) mix(other rgb, t float64) rgb {
	return rgb{c.r + (other.r-c.r)*t, c.g + (other.g-c.g)*t, c.b + (other.b-c.b)*t}
}

type palette struct {
	zenith, horizon, light, ground rgb
	stars                          bool
	words                          []string // a prompt with one of them takes this palette
}

var palettes = []palette{
	{rgb{36, 52, 110}, rgb{250, 172, 116}, rgb{255, 228, 178}, rgb{38, 30, 58}, false, []string{"sunset", "dusk", "evening", "autumn", "fire", "orange"}},
	{rgb{94, 156, 214}, rgb{252, 226, 205}, rgb{255, 250, 228}, rgb{32, 74, 84}, false, []string{"sunrise", "dawn", "morning", "spring", "sky", "day"}},
	{rgb{9, 14, 38}, rgb{46, 66, 118}, rgb{238, 240, 226}, rgb{7, 11, 26}, true, []string{"night", "moon", "space", "star", "stars", "galaxy", "dark", "robot"}},
	{rgb{120, 178, 168}, rgb{232, 238, 204}, rgb{255, 251, 226}, rgb{22, 62, 48}, false, []string{"forest", "tree", "trees", "jungle", "green", "garden", "dragon"}},
	{rgb{58, 134, 188}, rgb{196, 232, 236}, rgb{255, 255, 240}, rgb{14, 62, 96}, false, []string{"sea", "ocean", "lake", "beach", "water", "fish", "whale", "blue"}},
	{rgb{226, 148, 96}, rgb{252, 220, 164}, rgb{255, 244, 214}, rgb{112, 46, 38}, false, []string{"desert", "sand", "canyon", "mars", "summer", "fox"}},
	{rgb{142, 176, 214}, rgb{238, 243, 248}, rgb{255, 255, 255}, rgb{62, 84, 116}, false, []string{"snow", "winter", "ice", "mountain", "mountains", "arctic", "penguin"}},
	{rgb{72, 38, 108}, rgb{242, 132, 160}, rgb{255, 220, 218}, rgb{40, 18, 58}, true, []string{"city", "neon", "cyberpunk", "dream", "magic", "purple", "cat"}},
}

// choosePalette takes the palette of the first word that names one, else any, and shifts its light a little.
func choosePalette(prompt string, random *rand.Rand) palette {
	chosen := palettes[random.IntN(len(palettes))]
	words := strings.FieldsFunc(strings.ToLower(prompt), func(r rune) bool { return !unicode.IsLetter(r) })
search:
	for _, word := range words {
		for _, p := range palettes {
			if slices.Contains(p.words, word) {
				chosen = p
				break search
			}
		}
	}
	shift := 0.12 * random.Float64()
	chosen.zenith = chosen.zenith.mix(chosen.horizon, shift)
	chosen.ground = chosen.ground.mix(chosen.zenith, shift)
	return chosen
}
