"""A simulated rig: specimen, optics, camera and stage, with the truth kept beside the images."""
