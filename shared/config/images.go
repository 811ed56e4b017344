package config

import (
	"fmt"
	"regexp"
)

// Images is what generateImage paints with.
type Images struct {
	// Bedrock chooses the image models of Amazon Bedrock, in Region. Without it a preview is drawn.
	Bedrock bool
	Region  string
}

// defaultImageRegion is the one region that has the Stability models.
const defaultImageRegion = "us-west-2"

var regionName = regexp.MustCompile(`^[a-z]{2,3}(-[a-z]+)+-[0-9]{1,2}$`)

// LoadImages reads IMAGE_MODEL and IMAGE_REGION.
func LoadImages(env Env) (Images, error) {
	i := Images{Region: env("IMAGE_REGION")}
	if i.Region == "" {
		i.Region = defaultImageRegion
	}
	switch model := env("IMAGE_MODEL"); model {
	case "", "preview":
	case "bedrock":
		i.Bedrock = true
	default:
		return Images{}, &Error{"IMAGE_MODEL", fmt.Sprintf("is %q; it must be preview or bedrock", model)}
	}
	if !regionName.MatchString(i.Region) {
		return Images{}, &Error{"IMAGE_REGION", fmt.Sprintf("is %q; it names an AWS region, such as %s", i.Region, defaultImageRegion)}
	}
	return i, nil
}
