"""Every expected "no" of recommend, one to one with recommend/v1/error_reason.proto (the kit's own first)."""

from services.kit.errors import Kind, Refusal


def customer_not_found(customer_key: int) -> Refusal:
    """No features are known of this customer."""
    message = f"no features are known of customer {customer_key}"
    return Refusal(Kind.NOT_FOUND, "CUSTOMER_NOT_FOUND", message, metadata={"customer_key": str(customer_key)})


def product_not_found(product_id: str) -> Refusal:
    """No product has this id."""
    message = f"no product has the id {product_id}"
    return Refusal(Kind.NOT_FOUND, "PRODUCT_NOT_FOUND", message, metadata={"product_id": product_id})


def model_not_found(model_id: str) -> Refusal:
    """No model has this id."""
    message = f"no model has the id {model_id}"
    return Refusal(Kind.NOT_FOUND, "MODEL_NOT_FOUND", message, metadata={"model_id": model_id})


def model_missing() -> Refusal:
    """No model serves yet; train one first."""
    return Refusal(Kind.FAILED_PRECONDITION, "MODEL_MISSING", "no model serves yet; train one first")


def matrix_not_found(matrix_id: str) -> Refusal:
    """No matrix has this id, or none was published yet."""
    message = f"no matrix has the id {matrix_id}" if matrix_id else "no matrix was published yet"
    return Refusal(Kind.NOT_FOUND, "MATRIX_NOT_FOUND", message, metadata={"matrix_id": matrix_id})


def training_data_unfit(why: str) -> Refusal:
    """The training data cannot make a model."""
    message = f"the training data cannot make a model: {why}"
    return Refusal(Kind.FAILED_PRECONDITION, "TRAINING_DATA_UNFIT", message, metadata={"why": why})


def model_state(model_id: str, state: str) -> Refusal:
    """The model's state does not allow this."""
    message = f"model {model_id or '(none)'} is {state}"
    return Refusal(Kind.FAILED_PRECONDITION, "MODEL_STATE", message, metadata={"model_id": model_id, "state": state})


def circle_not_found(circle: str) -> Refusal:
    """No customer of the latest run has this tag, and no expert named products for it."""
    message = f"no circle has the tag {circle}"
    return Refusal(Kind.NOT_FOUND, "CIRCLE_NOT_FOUND", message, metadata={"circle": circle})


def inputs_incomplete(missing: str) -> Refusal:
    """Features, products or orders of the period are missing."""
    message = f"inputs are missing: {missing}"
    return Refusal(Kind.FAILED_PRECONDITION, "INPUTS_INCOMPLETE", message, metadata={"missing": missing})


def acceptance_model_not_found(model: str) -> Refusal:
    """No acceptance model has this id, or none serves this product yet."""
    message = f"no acceptance model is there for {model}"
    return Refusal(Kind.NOT_FOUND, "ACCEPTANCE_MODEL_NOT_FOUND", message, metadata={"model": model})


def outcomes_missing(contacts: int) -> Refusal:
    """No product has enough contacts of either answer yet."""
    message = f"{contacts} contacts were answered: no product has 30 of either answer"
    return Refusal(Kind.FAILED_PRECONDITION, "OUTCOMES_MISSING", message, metadata={"contacts": str(contacts)})


def project_not_found(project_id: str) -> Refusal:
    """No mining project has this id."""
    message = f"no mining project has the id {project_id}"
    return Refusal(Kind.NOT_FOUND, "PROJECT_NOT_FOUND", message, metadata={"project_id": project_id})


def step_incomplete(missing: str) -> Refusal:
    """The step cannot be over yet: it lacks artefacts, or an earlier step is not over."""
    message = f"the step cannot be over yet: {missing}"
    return Refusal(Kind.FAILED_PRECONDITION, "STEP_INCOMPLETE", message, metadata={"missing": missing})


def column_unknown(column: str) -> Refusal:
    """The run that answers has no such feature."""
    message = f"the run that answers has no feature {column}"
    return Refusal(Kind.INVALID_ARGUMENT, "COLUMN_UNKNOWN", message, metadata={"column": column})
