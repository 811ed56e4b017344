"""Prints template.yaml as CloudFormation gets it: what the SAM transform makes of it, as JSON.

AWS runs the same translator during a deployment. `sam package` would have replaced local code by S3 addresses before;
that is done here by name, so that a function can still be told by its folder.
"""

import json
import os
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

with open(sys.argv[1], encoding="utf-8") as file:
    template = yaml_parse(file.read())
for resource in template["Resources"].values():
    properties = resource.get("Properties", {})
    if resource["Type"] == "AWS::Serverless::Function":
        properties["CodeUri"] = "s3://packaged/" + properties["CodeUri"]

transformed = Translator(managed_policy_map={}, sam_parser=Parser()).translate(template, parameter_values={})
json.dump(transformed, sys.stdout)
