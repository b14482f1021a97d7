"""Gives schemathesis ids of users and secrets that exist, so that its calls reach what they name."""

import json
import os
import random

import schemathesis

KNOWN = json.loads(os.environ["MFAD_KNOWN"])


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Half of the calls name a user and a secret that were there when the run began."""
    if not path_parameters or random.random() < 0.5:
        return path_parameters
    user, secrets = random.choice(list(KNOWN.items()))
    if "userId" in path_parameters:
        path_parameters["userId"] = user
    if "secretId" in path_parameters and secrets:
        path_parameters["secretId"] = random.choice(secrets)
    return path_parameters


@schemathesis.hook
def map_headers(context, headers):
    """An administrator on the socket needs a reason for some acts; half of the calls have one."""
    if headers is not None and random.random() < 0.5:
        headers["Mfad-Reason"] = "proof"
    return headers
