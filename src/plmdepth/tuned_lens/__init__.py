"""The tuned lens: one affine translator a layer, fitted so that the head reads every state as it reads the last."""
