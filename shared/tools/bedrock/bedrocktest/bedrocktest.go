// Package bedrocktest is a stand-in for the Stability models of Amazon Bedrock that speaks InvokeModel's wire protocol
// (REST JSON 1), for tests and for the local stack. It paints gradients, and refuses in the words of the service.
package bedrocktest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Filtered is a word that the content filter does not let pass in a prompt.
const Filtered = "unspeakable"

// models are those that the stand-in has.
var models = []string{"stability.stable-image-core-v1:1", "stability.sd3-5-large-v1:0", "stability.stable-image-ultra-v1:1"}

// Server is an http.Handler that serves InvokeModel at POST /model/{id}/invoke.
type Server struct {
	mu     sync.Mutex
	calls  []Call
	answer http.Handler // in the place of a picture; nil: none
	times  int          // how many calls it still answers; negative: all
}

// Call is one request that arrived.
type Call struct {
	Model                             string
	Region                            string // that it was signed for
	Prompt, AspectRatio, OutputFormat string
}

// New returns a Server.
func New() *Server { return &Server{} }

// Answer makes the next n calls be answered by h, or all until the next call of Answer when n is negative.
func (s *Server) Answer(h http.Handler, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.times = h, n
}

// Calls are the requests that arrived so far, failed ones included.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Failure answers with an error of the service, such as ThrottlingException.
func Failure(status int, kind, message string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Amzn-Errortype", kind+":http://internal.amazon.com/coral/com.amazon.bedrock/")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
	})
}

// Body answers with a model's answer, whatever it is.
func Body(body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
	})
}

// Withheld answers as a model does that finished without an image to show.
func Withheld(reason string) http.Handler {
	return Body(fmt.Sprintf(`{"seeds":[7],"finish_reasons":[%q],"images":[]}`, reason))
}

// ModelID takes the model's id out of a path of InvokeModel.
func ModelID(path string) (id string, ok bool) {
	if id, ok = strings.CutPrefix(path, "/model/"); ok {
		id, ok = strings.CutSuffix(id, "/invoke")
	}
	return id, ok
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, ok := ModelID(r.URL.Path)
	if r.Method != http.MethodPost || !ok {
		Failure(http.StatusNotFound, "UnknownOperationException", "").ServeHTTP(w, r)
		return
	}
	credential, signed := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=")
	scope := strings.Split(credential, "/") // key, date, region, service, ...
	if !signed || len(scope) < 5 || scope[3] != "bedrock" {
		Failure(http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token").ServeHTTP(w, r)
		return
	}
	var in struct {
		Prompt       string `json:"prompt"`
		AspectRatio  string `json:"aspect_ratio"`
		OutputFormat string `json:"output_format"`
		Mode         string `json:"mode"`
		Seed         uint32 `json:"seed"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	decoder.DisallowUnknownFields()
	malformed := decoder.Decode(&in)
	s.mu.Lock()
	s.calls = append(s.calls, Call{id, scope[2], in.Prompt, in.AspectRatio, in.OutputFormat})
	var answer http.Handler
	if s.times != 0 {
		answer = s.answer
	}
	if s.times > 0 {
		s.times--
	}
	s.mu.Unlock()
	switch {
	case answer != nil:
		answer.ServeHTTP(w, r)
	case !slices.Contains(models, id):
		Failure(http.StatusBadRequest, "ValidationException", "The provided model identifier is invalid.").ServeHTTP(w, r)
	case malformed != nil || r.Header.Get("Content-Type") != "application/json" || in.Prompt == "" || len(in.Prompt) > 10_000:
		Failure(http.StatusBadRequest, "ValidationException", "Malformed input request, please reformat your input and try again.").ServeHTTP(w, r)
	case strings.Contains(in.Prompt, Filtered):
		Body(`{"finish_reasons":["Filter reason: prompt"]}`).ServeHTTP(w, r)
	default:
		paint(w, in.Prompt, in.OutputFormat)
	}
}

// paint answers with a small gradient whose colours follow from the prompt.
func paint(w http.ResponseWriter, prompt, format string) {
	const size = 128
	digest := sha256.Sum256([]byte(prompt))
	picture := image.NewNRGBA(image.Rect(0, 0, size, size))
	for y := range size {
		for x := range size {
			mix := func(i, at int) uint8 { return uint8((int(digest[i])*at + int(digest[i+1])*(size-at)) / size) }
			picture.SetNRGBA(x, y, color.NRGBA{mix(0, x), mix(2, y), mix(4, (x+y)/2), 255})
		}
	}
	var data bytes.Buffer
	var err error
	if format == "jpeg" {
		err = jpeg.Encode(&data, picture, nil)
	} else {
		err = png.Encode(&data, picture)
	}
	if err != nil {
		panic(err) // a buffer takes all, and the picture is small
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"seeds": []int{2130420379}, "finish_reasons": []*string{nil}, "images": [][]byte{data.Bytes()}})
}
