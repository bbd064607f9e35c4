"""What each refusal code of the kernel means and what to try: prose for people, outside the trusted kernel."""

from __future__ import annotations

from verifiers.kernel.codes import Code

PARAGRAPHS: dict[Code, str] = {
    # the input cannot be understood
    Code.BAD_NUMBER: ('A number is not an exact decimal or fraction string, or is too long. Write "0.15" or "3/20" as a string, without exponent, '
        "sign tricks, NaN or infinity."),
    Code.BAD_SHAPE: ("A list, vector or matrix has another length than the plant's states or inputs demand. Compare it with the order and number "
        "of states that `certctl systems NAME` prints."),
    Code.BAD_REQUIREMENT: ("The requirement has an unknown key, a value of the wrong type, contradicts itself, demands nothing, or is not UTF-8 "
        "TOML. Correct the key that the message names; the README lists all keys."),
    Code.BAD_PARAMETER: ("A parameter is not one of the plant's, or its value is outside what the plant allows. Take name and unit from what "
        "`certctl systems NAME` prints."),
    Code.BAD_PLANT: ("plant.json is not a well-formed certctl-plant/1 description: a missing field, an argument that refers forward, or sizes that "
        "do not fit. Write it again with `systems.export.plant_json`."),
    Code.BAD_ONNX: ("The ONNX file cannot be read as a controller or function of static shape with one input and one output. Export it again with "
        "a plain graph, static shapes, no external data and no initializer that is also an input."),
    Code.BAD_WEIGHTS: ("A weight is NaN or infinite, so the network computes nothing definite. Look for a training run that diverged and export a "
        "checkpoint with finite weights."),
    Code.BAD_GRAPH: ("Controller, plant or function do not fit together: sizes differ, a node has no valid arguments, or there are too many nodes. "
        "Compare the numbers of inputs and outputs with the plant's states and inputs."),
    Code.BAD_PROBLEM: ("The optimisation problem is not a well-formed certctl-mpqp/1 file or NumPy archive, or its cost is not strictly convex, so "
        "that there is no unique law. Compare names and shapes: H (n, n) positive definite, F (n, d), A (m, n), B (m, d), f, b, lb, ub."),
    Code.BAD_LAW: ("law.json is not a well-formed certctl-law/1 file: a missing field, an entry of the tree that refers to nothing, or another "
        "number of inputs. Write it again with `certctl explicit-mpc`."),
    Code.UNKNOWN_OPERATOR: ("The model uses an operator outside the allow-list, which the kernel has no proved enclosure for. Rewrite the layer "
        "with operators that the message lists, or export without training-only nodes."),
    Code.FORBIDDEN_FORMAT: ("The file is a pickle or a container that may hold one (.pkl, .pt, .pth, .joblib, .npy objects): reading it could run "
        "code. Export the controller as ONNX; nothing else is read."),
    Code.MISSING_FILE: ("A file or folder that is named does not exist or cannot be read. Check the path; paths in a requirement are relative to "
        "the requirement's own folder."),
    Code.EQUILIBRIUM_OUTSIDE_DOMAIN: ("The equilibrium that the requirement (or the plant) names is not in the interior of [domain]. Enlarge or "
        "shift [domain], or correct [equilibrium]."),
    Code.INTERNAL: ("The program met a state that it does not expect, which is a defect in certctl and never a verdict. Please report it with the "
        "command and the bundle; nothing has been proved."),
    # the bytes are not the bytes that were certified
    Code.DIGEST_MISMATCH: ("A file's sha256 differs from the one that certificate.json lists, so the proof is about other bytes. Restore the file, "
        "or run `certctl verify` again for the new one."),
    Code.CONTROLLER_MISMATCH: ("The controller that you deploy is not the one in the bundle. A changed weight needs a new proof: run `certctl "
        "verify` again, or deploy the certified file."),
    Code.PLANT_MISMATCH: ("The plant in the bundle is not the plant that the requirement names (the copy shipped with certctl, or your file and "
        "its sha256). Verify again with the plant you mean."),
    Code.PROBLEM_MISMATCH: ("The optimisation problem in the bundle is not the one that the requirement names by path and sha256. Restore the file, "
        "or correct the requirement and prove the law again."),
    Code.REQUIREMENT_MISMATCH: ("The requirement given differs from the one embedded in the bundle, so the proof answers another question. Verify "
        "again with the present requirement."),
    Code.UNLISTED_FILE: ("The bundle's folder holds a file that certificate.json does not list, so nobody has vouched for it. Remove it, or write "
        "the bundle again; only check.json, report.html, certificate.dsse.json and figures may lie beside."),
    Code.UNSAFE_PATH: ("A path inside a bundle is absolute, climbs out with `..`, holds control characters, or is a link or another special file. "
        "A bundle holds regular files with plain names only; write it again."),
    # the proof does not show what is required
    Code.MALFORMED_CERTIFICATE: ("certificate.json has an unknown, missing, duplicate or wrongly typed field, or is not strict UTF-8 JSON. It is "
        "not something certctl wrote; run `certctl verify` again."),
    Code.CLAIM_MISMATCH: ("The certificate claims something else than the requirement demands: property, time, dt, method, parameters, domain, "
        "level or rate differ. Verify again with this requirement."),
    Code.MISSING_OBLIGATION: ("The property needs an obligation for which the certificate brings no proof. A claim with a hole is no claim; run "
        "`certctl verify` again and let it finish."),
    Code.UNEXPECTED_OBLIGATION: ("The certificate brings a proof for something that the property does not ask, or brings one twice. The kernel "
        "derives the obligations itself; write the bundle again."),
    Code.EQUILIBRIUM_NOT_PROVED: ("The interval Newton test does not map the given box into its interior, so existence of exactly one equilibrium "
        "there is not shown. Try another enclosure box, or look whether the Jacobian is singular."),
    Code.EQUILIBRIUM_ELSEWHERE: ("The closed loop settles farther from the required equilibrium than [equilibrium] tolerance allows. Train away "
        "the offset, or raise the tolerance if such an offset is acceptable."),
    Code.NOT_DEFINITE: ("A matrix that must be positive definite (or an interval matrix, all of it) is not proved so. Solve again with a larger "
        "strict margin, or shrink the neighbourhood over which the Jacobian is enclosed."),
    Code.LOCAL_DECREASE: ("Near the equilibrium the quadratic function is not proved to decrease for every Jacobian in the enclosure. Try a "
        "smaller neighbourhood or another P; an unstable linearisation cannot be helped."),
    Code.DECREASE: ("On some leaf of the shell, or step of an explicit law's loop, the Lyapunov function is not proved to decrease strictly. "
        "Refine the tree there, or lower the level; `certctl falsify` looks for a true violation."),
    Code.CHAIN: ("The inner edge of a shell is not proved to lie inside the region of the stage within, so a hole is left where nothing is known. "
        "Add a stage between, or let the inner level grow."),
    Code.CONTAINMENT: ("The level set is not proved to stay clear of the domain's boundary, so trajectories may leave where nothing is proved. "
        "Lower the level or enlarge [domain]."),
    Code.IMAGE: ("A next state from the region is not proved to stay in the domain (discrete time). Lower the level, enlarge [domain], or shorten "
        "dt."),
    Code.TREE_INCOMPLETE: ("A proof tree ends before every branch has a leaf, so part of the domain is not covered. The file is truncated or the "
        "search was cut off; verify again."),
    Code.TREE_TRAILING: ("A proof tree has bytes left after its last leaf, which mean nothing and may hide something. Write the bundle again."),
    Code.LEAF_NOT_OUTSIDE: ("A leaf says that its box lies outside the set in question, but the enclosure of the function does not show it. Split "
        "the leaf, or prove the decrease on it."),
    Code.LEAF_NOT_INSIDE: ("A leaf says that its box lies inside the set in question, but the enclosure of the function does not show it. Split "
        "the leaf, or count it as not inside."),
    Code.NOT_CONTAINED: ("The box `[region] contains` is not proved to lie in the certified region. Demand a smaller box, or raise the level if "
        "the decrease allows it."),
    Code.VOLUME_TOO_SMALL: ("The certified lower bound of the region's volume is below `[region] min_volume`. Refine the volume tree, raise the "
        "level, or ask for less."),
    Code.RADIUS_TOO_SMALL: ("The ball (or box) of `[region] min_radius` around the equilibrium is not proved to lie in the region. Raise the "
        "level, or ask for less."),
    Code.EMPTY_REGION: ("The region claimed is empty or only the equilibrium, so the claim says nothing. Choose a level above the function's value "
        "at the equilibrium."),
    Code.COMMAND_EXCEEDS_LIMIT: ("With `saturation = \"forbid\"` the controller's command is not proved to stay within the plant's input limits on "
        'the region. Lower the gain or level, or use "clip".'),
    Code.TARGET_NOT_CONTAINED: ("The set in which trajectories end is not proved to lie inside [target]. Enlarge the target, or lower the inner "
        "level."),
    Code.UNSAFE_SET: ("The certified region is not proved to lie inside the box [safe], which must never be left. Lower the level, or enlarge the "
        "box if that is honest."),
    Code.RATE: ("Decrease is shown, but not with the exponential rate that [decrease] demands, or the function has no quadratic bounds. Ask for a "
        "smaller rate, or for asymptotic stability."),
    Code.NOT_PROVED: ("An obligation's proof was read and does not show the obligation; the message says by how much. Search again with a larger "
        "budget or another method."),
    Code.EVIDENCE_TOO_LOW: ("The evidence is below `[evidence] minimum`: for example a solver's word (L1) where a re-checked proof (L2) is "
        "required. Produce the stronger evidence, or lower the minimum knowingly."),
    Code.NOT_OPTIMAL: ("In a leaf the law is not shown to be the minimiser: stationarity fails with the multipliers given, an active row is no "
        "equality, or a multiplier or slack is not shown to be non-negative. Look for a changed file, or prove the law again."),
    Code.NOT_INFEASIBLE: ("In a leaf without value the problem is not shown to be infeasible: the ray given is no Farkas ray, or does not cover the "
        "whole leaf. Prove the law again with `certctl explicit-mpc`."),
    # the prover has an exact witness against the claim
    Code.UNSTABLE_EQUILIBRIUM: ("The linearisation at the equilibrium is proved to have an unstable eigenvalue, so no region of attraction exists. "
        "Train again; no proof budget can help."),
    Code.NO_EQUILIBRIUM: ("It is proved that the closed loop has no equilibrium within the tolerance around the required one. Correct the "
        "controller's offset, or the requirement."),
    Code.COUNTEREXAMPLE: ("A state is known, and was replayed exactly, at which the claim is false. The message gives the state; train against it, "
        "or lower the level below it."),
    # neither proved nor refuted
    Code.UNSUPPORTED: ("The question is well formed, but this kernel has no rule for it. Change the part that the message names: another property, "
        "method or controller form may be supported."),
    Code.TOO_LARGE: ("A file, number, nesting or count is over the kernel's cap, which keeps checking bounded. Split the proof, or use a smaller "
        "network; nothing is said about the claim itself."),
    Code.BUDGET: ("The time budget ran out before every box was decided. Continue with `--resume`, or raise `--budget`; a lower level often ends "
        "much sooner."),
    Code.INTERRUPTED: ("The run was stopped by the user or the system before it ended. The search is kept: continue with `--resume`; nothing has "
        "been proved yet."),
    Code.NO_PROOF_FOUND: ("No counterexample was found and no proof either. Try a lower level, another method or degree in [prover], a larger "
        "budget, or a smoother controller."),
    Code.PART_MISSING: ("A proof was checked in parts and at least one part's receipt is absent, so nothing follows. Run every part i of n and "
        "join them."),
}
"""The paragraph of each code, as `certctl explain` prints it."""
